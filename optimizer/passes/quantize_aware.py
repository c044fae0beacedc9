"""Quantisation-aware training: weights and activations are rounded while the network learns, then it is exported."""

import dataclasses
import statistics

from optimizer.artifact.graph_signature import signature_of
from optimizer.errors import PassFailed
from optimizer.intake.onnx_file import save
from optimizer.intake.predictor import Predictor, predictor_of, tensors_of
from optimizer.intake.stages import OnnxModel, TorchModel
from optimizer.passes import export, parity
from optimizer.passes.context import Context
from optimizer.passes.integer_graph import round_biases
from optimizer.passes.integer_program import RoundingPredictor, converted, prepared, quiet
from optimizer.passes.integer_types import IntegerTypes, choose, integer_weights
from optimizer.passes.teaching import Lesson
from optimizer.passes.training import train
from optimizer.recipe.quantize_aware import QuantizeAware
from optimizer.train.hooks import Hook

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
    with Lesson(config, rounding, model, context) as lesson:
        train(
            # Rounding is done to 32-bit floats, and an exported program cannot be sent to another process.
            config.model_copy(update={"mixed_precision": "none", "processes": 1}),
            model,
            lesson.objective,
            _on_the_cpu(context),
            selection=lesson.selection,
            predictor=rounding,
            hooks=(_Freeze(rounding, config.freeze_share),),
            shares=(_PREPARED, _TRAINED),
        )
    program = converted(rounding)
    context.report(_TRAINED, message="exporting")
    with quiet():
        proto = export.graph_of(program, model, traced, config.opset, export.output_name(model, context))
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


def _on_the_cpu(context: Context) -> Context:
    """An exported program names the device that it was traced on, and trains there."""
    return dataclasses.replace(context, session=context.session.model_copy(update={"target": "cpu"}))


class _Freeze(Hook):
    """Stops the ranges of activations from moving after a share of the updates, so that the weights can settle."""

    def __init__(self, rounding: RoundingPredictor, share: float) -> None:
        self._rounding = rounding
        self._share = share

    def before_update(self, step: int, steps: int) -> None:
        """Freezes once the share is reached; training that is taken up again finds its way here too."""
        if step >= self._share * steps:
            self._rounding.freeze()


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
