"""Structured pruning with dependency graphs (DepGraph, Fang et al., CVPR 2023; Li et al., 2017, for the magnitudes).

A convolutional network loses channels everywhere, residual streams included. A transformer loses whole attention heads
and feed-forward columns, and keeps its hidden width. The scores of the predictor are never cut.
"""

import warnings

import torch
import torch_pruning
from torch import Tensor, nn
from torch.nn import functional

from optimizer.errors import PassFailed, UnsupportedModel
from optimizer.intake.lift import unlifted
from optimizer.intake.predictor import Predictor, predictor_of, tensors_of
from optimizer.intake.stages import TorchModel
from optimizer.passes.context import Context
from optimizer.passes.structures import cut_structures, score_layers
from optimizer.recipe.prune import PruneStructured

# Rows that trace the graph, and rows whose gradients tell importance.
_TRACED = 2
_GRADIENT_ROWS = 256
_GRADIENT_BATCH = 32


def run(config: PruneStructured, model: TorchModel, context: Context) -> TorchModel:
    """Cuts the least important structures out of `model`, in place.

    Raises UnsupportedModel when the network cannot be traced or does not run after cutting, PassFailed when nothing
    could be cut.
    """
    predictor = predictor_of(model).eval()
    rows = context.splits.calibration
    example = tuple(tensor[:_TRACED] for tensor in tensors_of(rows, model.inputs))
    before = model.parameters
    classes = int(predictor(*example).shape[-1])
    importance = _importance(config)
    if config.importance == "taylor":
        _accumulate_gradients(predictor, tensors_of(rows, model.inputs), rows.labels)
    context.report(0.2, message="tracing the dependency graph")
    with warnings.catch_warnings():
        # The library warns of every parameter outside a module (a class token); it treats them rightly.
        warnings.simplefilter("ignore")
        try:
            if _is_convolutional(model.network):
                report = _cut_channels(config, predictor, example, importance, score_layers(predictor, classes))
            else:
                report = cut_structures(config, predictor, example, importance, classes)
        except (RuntimeError, ValueError, KeyError, AttributeError, IndexError, TypeError, AssertionError) as error:
            raise UnsupportedModel(
                f"pruning cannot follow the dependencies in this {_type(model)!r} network: {str(error)[:200]}"
                f"{_blocking(model)}"
            ) from error
    predictor.zero_grad(set_to_none=True)
    after = model.parameters
    if after >= before:
        if unlifted(model.network):
            raise UnsupportedModel(f"nothing could be pruned from this recorded network: {report}{_blocking(model)}")
        raise PassFailed(
            f"nothing could be pruned from this {_type(model)!r} network at ratio {config.ratio}: {report}"
        )
    _prove(predictor, example, classes, model)
    context.notes.append(f"parameters {_millions(before)} -> {_millions(after)}")
    context.notes.append(report)
    return model


def _blocking(model: TorchModel) -> str:
    """Names what holds weights that pruning cannot cut, in a recorded network."""
    operations = unlifted(model.network)
    return f"; these operations keep their weights: {', '.join(operations)}" if operations else ""


def _is_convolutional(network: nn.Module) -> bool:
    """Whether channels are the width: normalised by batch or group, with no attention in it."""
    return any(isinstance(module, nn.BatchNorm2d | nn.GroupNorm) for module in network.modules())


def _cut_channels(
    config: PruneStructured,
    predictor: Predictor,
    example: tuple[Tensor, ...],
    importance: torch_pruning.importance.Importance,
    kept: list[nn.Module],
) -> str:
    before = _widths(predictor)
    pruner = torch_pruning.pruner.BasePruner(
        predictor,
        example,
        importance=importance,
        pruning_ratio=config.ratio,
        round_to=config.round_to,
        ignored_layers=kept,
    )
    pruner.step()
    after = _widths(predictor)
    same = [name for name, width in after.items() if width == before[name]]
    if len(same) == len(after):
        narrow = min(before, key=lambda name: before[name])
        widths = f"widths are multiples of {config.round_to} (`{narrow}` has {before[narrow]})"
        return f"no layer gets narrower when {widths}"
    return f"{len(after) - len(same)} of {len(after)} convolutions are narrower"


def _widths(network: nn.Module) -> dict[str, int]:
    return {name: module.out_channels for name, module in network.named_modules() if isinstance(module, nn.Conv2d)}


def _importance(config: PruneStructured) -> torch_pruning.importance.Importance:
    if config.importance == "taylor":
        return torch_pruning.importance.GroupTaylorImportance()
    return torch_pruning.importance.GroupMagnitudeImportance(p=2)


def _accumulate_gradients(predictor: Predictor, inputs: tuple[Tensor, ...], labels: object) -> None:
    """Gradients of the loss on calibration rows; without labels, of the network's own answers."""
    predictor.zero_grad(set_to_none=True)
    truth = None if labels is None else torch.as_tensor(labels)
    for start in range(0, min(len(inputs[0]), _GRADIENT_ROWS), _GRADIENT_BATCH):
        batch = slice(start, start + _GRADIENT_BATCH)
        logits = predictor(*(tensor[batch] for tensor in inputs))
        answers = logits.argmax(-1) if truth is None else truth[batch]
        functional.cross_entropy(logits, answers, reduction="sum").backward()


def _prove(predictor: Predictor, example: tuple[Tensor, ...], classes: int, model: TorchModel) -> None:
    try:
        with torch.inference_mode():
            shape = tuple(predictor(*example).shape)
    except (RuntimeError, ValueError) as error:
        raise UnsupportedModel(
            f"this {_type(model)!r} network does not run once it is pruned: {str(error)[:200]}"
        ) from error
    if shape != (len(example[0]), classes):
        wanted = [len(example[0]), classes]
        raise PassFailed(f"the pruned network answers with scores of shape {list(shape)}, not {wanted}")


def _type(model: TorchModel) -> str:
    return str(model.config.get("model_type", "unknown"))


def _millions(count: int) -> str:
    return f"{count / 1e6:.3g} M"
