"""Distillation: the present network learns from the answers of the checkpoint it came from (Hinton et al., 2015)."""

import torch
from torch import nn

from optimizer.intake.predictor import answers_of, predictor_of, tensors_of
from optimizer.intake.stages import TorchModel
from optimizer.passes.context import Context
from optimizer.recipe.distill import Distill
from optimizer.train.loop import Selection, Settings, fit
from optimizer.train.losses import distillation

# Share of the pass that the teacher's answers take.
_TEACHING = 0.05
_CONVOLUTIONAL_RATE = 1e-3
# What encoders of width 768 are fine-tuned with; narrower ones need and bear more.
_ENCODER_RATE = 5e-5
_ENCODER_WIDTH = 768


def run(config: Distill, model: TorchModel, context: Context) -> TorchModel:
    """Trains `model` in place. Raises PassFailed when training diverges."""
    train, selection = context.splits.train, context.splits.selection
    inputs = tensors_of(train, model.inputs)
    chosen = tensors_of(selection, model.inputs)
    # Nothing is augmented, so the teacher says everything it has to say once.
    teacher = predictor_of(context.references.source())
    context.report(0.0, message="asking the teacher")
    soft = answers_of(teacher, inputs)
    labels = None if train.labels is None else torch.from_numpy(train.labels)
    truth = answers_of(teacher, chosen).argmax(-1) if selection.labels is None else torch.from_numpy(selection.labels)
    del teacher
    device = "cuda" if context.session.target == "cuda" and torch.cuda.is_available() else "cpu"
    settings = Settings(
        epochs=config.epochs,
        learning_rate=config.learning_rate or default_learning_rate(model),
        batch_size=config.batch_size,
        weight_decay=config.weight_decay,
        warmup_share=config.warmup_share,
        seed=context.seed,
        threads=context.threads,
        device=device,
    )
    labels = None if labels is None else labels.to(device)
    objective = distillation(soft.to(device), labels, config.alpha, config.temperature)
    result = fit(
        predictor_of(model),
        inputs,
        objective,
        Selection(chosen, truth),
        settings,
        lambda share, loss, eta: context.report(
            _TEACHING + (1 - _TEACHING) * share, loss=loss, eta_seconds=eta, message="training"
        ),
    )
    of = "the teacher's answers" if selection.labels is None else "the selection rows"
    context.notes.append(
        f"{result.accuracy:.2%} of {of} right after epoch {result.best_epoch} of {result.epochs} "
        f"(loss {result.losses[0]:.3g} -> {result.losses[-1]:.3g})"
    )
    return model


def default_learning_rate(model: TorchModel) -> float:
    """A rate that suits the kind of network: constant for convolutions, inverse to the width for encoders."""
    if any(isinstance(module, nn.BatchNorm2d) for module in model.network.modules()):
        return _CONVOLUTIONAL_RATE
    widths = [module.normalized_shape[-1] for module in model.network.modules() if isinstance(module, nn.LayerNorm)]
    width = max(widths, default=_ENCODER_WIDTH)
    return min(_CONVOLUTIONAL_RATE, _ENCODER_RATE * _ENCODER_WIDTH / width)
