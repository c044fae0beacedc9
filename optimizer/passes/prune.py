"""Structured pruning with dependency graphs (DepGraph, Fang et al., CVPR 2023; Li et al., 2017, for the magnitudes).

A convolutional network loses channels everywhere, residual streams included. A transformer loses whole attention heads
and feed-forward columns, and keeps its hidden width. The answers of the predictor keep their shape.
"""

import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from torch import nn

from optimizer.errors import PassFailed, UnsupportedModel
from optimizer.intake.lift import unlifted
from optimizer.intake.predictor import Predictor, predictor_of, tensors_of
from optimizer.intake.stages import EMBEDDING, TorchModel
from optimizer.passes import allocation, gradients
from optimizer.passes.context import Context
from optimizer.passes.proof import millions, require_same_shape, type_of
from optimizer.passes.recovery import objective_of, recover
from optimizer.passes.structure import Judge, Structure
from optimizer.passes.structures import has_channels, score_layers, structures_of
from optimizer.recipe.prune import PruneStructured

# Rows that trace the graph.
_TRACED = 2


def run(config: PruneStructured, model: TorchModel, context: Context) -> TorchModel:
    """Cuts the least important structures out of `model`, in place, and trains it between the parts of the cut.

    Raises UnsupportedModel when the network cannot be traced or does not run after cutting, PassFailed when nothing
    could be cut or training diverges.
    """
    predictor = predictor_of(model).eval()
    example = tuple(tensor[:_TRACED] for tensor in tensors_of(context.splits.calibration, model.inputs))
    before, shape = model.parameters, tuple(predictor(*example).shape)
    convolutions = _widths(predictor)
    training = config.training
    objective = None if training is None else objective_of(training, model, context)
    context.report(0.1, message="tracing the dependency graph")
    targets: dict[str, tuple[int, int]] = {}
    for step in range(1, config.steps + 1):
        with _named(model):
            structures = structures_of(config, predictor, example, _answering(model, predictor, shape))
            if config.importance == "taylor":
                gradients.accumulate(predictor, model, context)
            if not targets:
                targets = _targets(config, structures, model, context)
            _cut(config, structures, targets, step, model, context)
        predictor.zero_grad(set_to_none=True)
        if training is not None and objective is not None:
            part = training.model_copy(update={"epochs": training.epochs / config.steps})
            share = (step - 1) / config.steps, step / config.steps
            recover(part, model, objective, context, f"step-{step}", shares=share)
            predictor.eval()
    report = _told(targets, structures, config) if not convolutions else _narrower(config, convolutions, predictor)
    if model.parameters >= before:
        if unlifted(model.network):
            raise UnsupportedModel(f"nothing could be pruned from this recorded network: {report}{_blocking(model)}")
        raise PassFailed(
            f"nothing could be pruned from this {type_of(model)!r} network at ratio {config.ratio}: {report}"
        )
    require_same_shape(model, shape, context)
    context.notes.append(f"parameters {millions(before)} -> {millions(model.parameters)}")
    context.notes.append(report)
    return model


@contextmanager
def _named(model: TorchModel) -> Iterator[None]:
    """Turns what the library stumbles over into a sentence that names the network."""
    with warnings.catch_warnings():
        # The library warns of every parameter outside a module (a class token); it treats them rightly.
        warnings.simplefilter("ignore")
        try:
            yield
        except (RuntimeError, ValueError, KeyError, AttributeError, IndexError, TypeError, AssertionError) as error:
            raise UnsupportedModel(
                f"pruning cannot follow the dependencies in this {type_of(model)!r} network: {str(error)[:200]}"
                f"{_blocking(model)}"
            ) from error


def _answering(model: TorchModel, predictor: Predictor, shape: tuple[int, ...]) -> list[nn.Module]:
    """Layers whose outputs may be the answers, which stay whole."""
    if model.output == EMBEDDING and not has_channels(predictor):
        # A transformer keeps the width of its stream, and so of its embeddings, anyway.
        return []
    return score_layers(predictor, shape[-1] if len(shape) > 1 else 1, body_too=model.output == EMBEDDING)


def _targets(
    config: PruneStructured, structures: Sequence[Structure], model: TorchModel, context: Context
) -> dict[str, tuple[int, int]]:
    """Units that each structure has now, and that it is to have in the end."""
    ratios = {one.name: config.ratio for one in structures}
    if config.allocation == "sensitivity":
        judge: Judge = "taylor" if config.importance == "taylor" else "magnitude"
        costs = allocation.measure(structures, model, context, judge)
        ratios = allocation.allocate(costs, config.ratio)
        context.tables.append(allocation.table_of(structures, costs, ratios))
    return {one.name: (one.units, one.kept(ratios[one.name], config.round_to)) for one in structures}


def _cut(
    config: PruneStructured,
    structures: Sequence[Structure],
    targets: Mapping[str, tuple[int, int]],
    step: int,
    model: TorchModel,
    context: Context,
) -> None:
    """Brings every structure this step nearer to its target; all are judged before any is cut."""
    damage = allocation.damage_of(model, context) if config.importance == "measured" else None
    gone: list[tuple[Structure, list[int]]] = []
    for one in structures:
        first, last = targets.get(one.name, (one.units, one.units))
        count = one.units - (last + math.ceil((first - last) * (1 - step / config.steps)))
        if count <= 0:
            continue
        if damage is not None:
            order = allocation.measured_order(one, damage, model)
        else:
            judge: Judge = "taylor" if config.importance == "taylor" else "magnitude"
            order = one.scores(judge).argsort(stable=True).tolist()
        gone.append((one, order[:count]))
    for one, units in gone:
        one.cut(units)


def _told(targets: Mapping[str, tuple[int, int]], structures: Sequence[Structure], config: PruneStructured) -> str:
    """What was cut, by kind."""
    sums: dict[str, list[int]] = {"heads": [0, 0], "feed-forward columns": [0, 0], "channels": [0, 0]}
    for one in structures:
        first, _ = targets.get(one.name, (one.units, one.units))
        sums[one.kind][0] += first - one.units
        sums[one.kind][1] += first
    if not any(total for _, total in sums.values()):
        return "nothing in it can be cut"
    return ", ".join(f"{removed} of {total} {kind} removed" for kind, (removed, total) in sums.items() if total)


def _narrower(config: PruneStructured, before: Mapping[str, int], network: nn.Module) -> str:
    after = _widths(network)
    same = [name for name, width in after.items() if width == before[name]]
    if len(same) == len(after):
        narrow = min(before, key=lambda name: before[name])
        widths = f"widths are multiples of {config.round_to} (`{narrow}` has {before[narrow]})"
        return f"no layer gets narrower when {widths}"
    return f"{len(after) - len(same)} of {len(after)} convolutions are narrower"


def _widths(network: nn.Module) -> dict[str, int]:
    """Channels of every convolution, of a network in which channels are cut."""
    if not has_channels(network):
        return {}
    return {name: module.out_channels for name, module in network.named_modules() if isinstance(module, nn.Conv2d)}


def _blocking(model: TorchModel) -> str:
    """Names what holds weights that pruning cannot cut, in a recorded network."""
    operations = unlifted(model.network)
    return f"; these operations keep their weights: {', '.join(operations)}" if operations else ""
