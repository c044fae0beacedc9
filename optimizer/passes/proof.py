"""Proves that a changed network still runs, answers in the same shape, and is smaller."""

import torch

from optimizer.errors import NotApplicable, PassFailed, UnsupportedModel
from optimizer.intake.predictor import predictor_of, tensors_of
from optimizer.intake.stages import TorchModel
from optimizer.passes.context import Context

_ROWS = 2


def shape_of(model: TorchModel, context: Context) -> tuple[int, ...]:
    """The shape of the answers to two calibration rows. Raises UnsupportedModel when the network does not run."""
    rows = tuple(tensor[:_ROWS] for tensor in tensors_of(context.splits.calibration, model.inputs))
    try:
        with torch.inference_mode():
            return tuple(predictor_of(model).eval()(*rows).shape)
    except (RuntimeError, ValueError, IndexError, AttributeError, TypeError) as error:
        raise UnsupportedModel(
            f"this {type_of(model)!r} network does not run once it is changed: {str(error)[:200]}"
        ) from error


def require_same_shape(model: TorchModel, shape: tuple[int, ...], context: Context) -> None:
    """Raises PassFailed when the changed network answers in another shape."""
    found = shape_of(model, context)
    if found != shape:
        raise PassFailed(f"the changed network answers in the shape {list(found)}, not {list(shape)}")


def require_smaller(before: int, after: int, context: Context) -> None:
    """Notes the number of weights. Raises NotApplicable when it has not fallen."""
    if after >= before:
        raise NotApplicable(f"the network would have {after} weights, and it has {before}")
    context.notes.append(f"parameters {millions(before)} -> {millions(after)}")


def type_of(model: TorchModel) -> str:
    """What kind of network it is, for a message."""
    return str(model.config.get("model_type", type(model.network).__name__))


def millions(count: int) -> str:
    """A number of weights, for a reader."""
    return f"{count / 1e6:.3g} M"
