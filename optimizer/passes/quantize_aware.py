"""Quantisation-aware training: weights and activations are rounded while the network learns, then it is exported."""

import statistics

import torch

from optimizer.artifact.graph_signature import signature_of
from optimizer.errors import PassFailed
from optimizer.intake.onnx_file import save
from optimizer.intake.predictor import Predictor, answers_of, predictor_of, tensors_of
from optimizer.intake.stages import OnnxModel, TorchModel
from optimizer.passes import export, parity
from optimizer.passes.context import Context
from optimizer.passes.integer_graph import round_biases
from optimizer.passes.integer_program import RoundingPredictor, converted, prepared, quiet
from optimizer.passes.integer_types import IntegerTypes, choose, integer_weights
from optimizer.passes.training import default_learning_rate
from optimizer.recipe.quantize_aware import QuantizeAware
from optimizer.train.loop import fit
from optimizer.train.losses import distillation
from optimizer.train.selection import Selection
from optimizer.train.settings import Settings

# Where a sum lies between two integers, kernels and torch may round it to either; a step of 1/255 of the range.
_TOLERANCE = 0.05
# Shares of the pass.
_PREPARED, _TRAINED = 0.1, 0.8


def run(config: QuantizeAware, model: TorchModel, context: Context) -> OnnxModel:
    """Trains with rounding and exports.

    Raises NotApplicable when nothing can be quantised, UnsupportedModel when the network cannot be exported, PassFailed
    when training diverges or the graph answers differently than the trained program.
    """
    calibration = context.splits.calibration
    types = _types(config, context)
    traced = export.example(calibration, model.inputs)
    rounding = prepared(predictor_of(model), traced, export.free_axes(model), types)
    rounding.observe(tensors_of(calibration, model.inputs))
    context.report(_PREPARED, message="training")
    _train(config, rounding, model, context)
    program = converted(rounding)
    context.report(_TRAINED, message="exporting")
    with quiet():
        proto = export.graph_of(program, model, traced, config.opset)
    biases = round_biases(proto)
    signature = signature_of(proto, model.limits)
    export.require_free_axes(model, signature)
    weights = integer_weights(proto)
    if weights < rounding.weighted:
        raise PassFailed(f"only {weights} of {rounding.weighted} weights became integers on export")
    exported = save(proto, context.directory, signature, context.session, keep_shapes=True)
    context.notes.append(f"{weights} weights in {types.name}, {biases} biases in 32-bit integers")
    context.notes.append(_proved(program, model, exported, context))
    return exported


def _types(config: QuantizeAware, context: Context) -> IntegerTypes:
    types = choose(config.types, context.hardware, context.session.target)
    # Weights are symmetric here; training makes good what the bit that is left unused costs.
    return choose("u8s8_reduced", context.hardware, context.session.target) if types.name == "u8u8" else types


def _train(config: QuantizeAware, rounding: RoundingPredictor, model: TorchModel, context: Context) -> None:
    train, selection = context.splits.train, context.splits.selection
    inputs, chosen = tensors_of(train, model.inputs), tensors_of(selection, model.inputs)
    teacher = predictor_of(context.references.source())
    soft = answers_of(teacher, inputs)
    truth = answers_of(teacher, chosen).argmax(-1) if selection.labels is None else torch.from_numpy(selection.labels)
    labels = None if train.labels is None else torch.from_numpy(train.labels)
    settings = Settings(
        epochs=config.epochs,
        learning_rate=config.learning_rate or default_learning_rate(model),
        batch_size=config.batch_size,
        weight_decay=config.weight_decay,
        warmup_share=config.warmup_share,
        seed=context.seed,
        threads=context.threads,
    )

    def told(share: float, loss: float, eta: float) -> None:
        if share >= config.freeze_share:
            rounding.freeze()
        done = _PREPARED + (_TRAINED - _PREPARED) * share
        context.report(done, loss=loss, eta_seconds=eta, message="training")

    objective = distillation(soft, labels, config.alpha, config.temperature)
    result = fit(rounding, inputs, objective, Selection(chosen, truth), settings, told)
    of = "the teacher's answers" if selection.labels is None else "the selection rows"
    context.notes.append(result.summary(of))


def _proved(program: Predictor, model: TorchModel, exported: OnnxModel, context: Context) -> str:
    """Raises PassFailed when the graph answers most rows differently: single ones may round the other way."""
    errors = [
        parity.relative_error([wanted], [got])
        for _, expected, actual in export.foreign_answers(program, model, exported, context)
        for wanted, got in zip(expected, actual, strict=True)
    ]
    middle = statistics.median(errors)
    if middle > _TOLERANCE:
        raise PassFailed(f"the integer graph answers differently: relative error {middle:.2g}, not {_TOLERANCE:g}")
    return f"answers as the trained program does (median relative error {middle:.1g})"
