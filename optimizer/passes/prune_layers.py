"""Depth pruning: removes whole layers, those that the answers need least (Sajjad et al., 2023), or evenly."""

from optimizer.artifact.manifest import Table
from optimizer.errors import NotApplicable
from optimizer.intake.stages import TorchModel
from optimizer.passes.context import Context
from optimizer.passes.damage import Damage
from optimizer.passes.proof import require_same_shape, require_smaller, shape_of
from optimizer.passes.stacks import copied, removable, stack_at, without
from optimizer.recipe.prune_layers import PruneLayers

# (name of the stack, place in it)
_Layer = tuple[str, int]


def run(config: PruneLayers, model: TorchModel, context: Context) -> TorchModel:
    """Removes layers of `model` in place.

    Raises UnsupportedModel when the network has no layers that could go, NotApplicable when none would.
    """
    before, shape = model.parameters, shape_of(model, context)
    stacks = removable(model, context)
    layers = [(name, place) for name, places in stacks.items() for place in places]
    count = round(config.ratio * len(layers))
    # A stack keeps at least one layer.
    count = min(count, sum(min(len(places), len(stack_at(model.network, name)) - 1) for name, places in stacks.items()))
    if count < 1:
        raise NotApplicable(f"a ratio of {config.ratio:g} leaves all {len(layers)} removable layers in place")
    sizes = {name: len(stack_at(model.network, name)) for name in stacks}
    if config.by == "even":
        removed = spread(layers, count, sizes)
    else:
        removed = _least(config, model, layers, count, sizes, context)
    edited = without(model, _by_stack(removed))
    require_same_shape(edited, shape, context)
    require_smaller(before, edited.parameters, context)
    context.notes.append(
        f"{len(removed)} of {len(layers)} layers removed: {', '.join(f'{name}.{place}' for name, place in removed)}"
    )
    return edited


def spread(layers: list[_Layer], count: int, sizes: dict[str, int]) -> list[_Layer]:
    """`count` of the layers, evenly spread, the first of all kept as long as possible; no stack is emptied."""
    removed: list[_Layer] = []
    kept = len(layers) - count
    staying = {layers[index * len(layers) // kept] for index in range(kept)} if kept else set()
    left = dict(sizes)
    for layer in reversed(layers):
        if layer not in staying and left[layer[0]] > 1:
            removed.append(layer)
            left[layer[0]] -= 1
    return sorted(removed)


def _least(
    config: PruneLayers, model: TorchModel, layers: list[_Layer], count: int, sizes: dict[str, int], context: Context
) -> list[_Layer]:
    """The layers without which the network answers most like itself."""
    damage = Damage(model, context)
    rows: list[tuple[str | int | float | bool | None, ...]] = []
    removed: list[_Layer] = []
    costs: dict[_Layer, float] = {}
    while len(removed) < count:
        left = {name: size - sum(one == name for one, _ in removed) for name, size in sizes.items()}
        waiting = [layer for layer in layers if layer not in removed and left[layer[0]] > 1]
        for layer in waiting:
            if config.by == "greedy" or layer not in costs:
                costs[layer] = damage.of(without(copied(model), _by_stack([*removed, layer])))
                rows.append((f"{layer[0]}.{layer[1]}", len(removed), costs[layer]))
                context.report(len(rows) / (len(rows) + len(waiting) * (count - len(removed))), message="measuring")
        removed.append(min(waiting, key=lambda layer: costs[layer]))
    context.tables.append(
        Table(
            kind="sensitivity",
            title="How far the answers move without a layer",
            columns=("layer", "layers removed before", "divergence"),
            rows=tuple(rows),
        )
    )
    return sorted(removed)


def _by_stack(layers: list[_Layer]) -> dict[str, list[int]]:
    stacks: dict[str, list[int]] = {}
    for name, place in layers:
        stacks.setdefault(name, []).append(place)
    return stacks
