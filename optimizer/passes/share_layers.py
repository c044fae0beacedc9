"""Shared layers: neighbours in a stack use one set of weights (ALBERT, Lan et al., ICLR 2020)."""

from torch import nn

from optimizer.errors import NotApplicable
from optimizer.intake.editing import apply
from optimizer.intake.edits import Share
from optimizer.intake.stages import TorchModel
from optimizer.passes.context import Context
from optimizer.passes.proof import require_same_shape, require_smaller, shape_of
from optimizer.passes.stacks import removable, stack_at
from optimizer.recipe.prune_layers import ShareLayers


def run(config: ShareLayers, model: TorchModel, context: Context) -> TorchModel:
    """Lets neighbouring layers of `model` share the weights of the first of them, in place.

    Raises NotApplicable when no neighbours have the same form, UnsupportedModel when there is no stack of layers.
    """
    before, shape = model.parameters, shape_of(model, context)
    groups = [
        group
        for name in removable(model, context)
        for group in _groups(name, stack_at(model.network, name), config.together)
    ]
    if not groups:
        raise NotApplicable("no neighbouring layers have weights of the same shapes, so none can share them")
    for group in groups:
        model = apply(model, Share(modules=group))
    require_same_shape(model, shape, context)
    require_smaller(before, model.parameters, context)
    context.notes.append(
        f"{sum(map(len, groups))} layers share {len(groups)} sets of weights; the time does not change"
    )
    return model


def _groups(name: str, stack: nn.ModuleList | nn.Sequential, together: int) -> list[tuple[str, ...]]:
    """Runs of at most `together` neighbours of one form."""
    groups: list[list[int]] = []
    for place, layer in enumerate(stack):
        if groups and len(groups[-1]) < together and _form(stack[groups[-1][0]]) == _form(layer):
            groups[-1].append(place)
        else:
            groups.append([place])
    return [tuple(f"{name}.{place}" for place in group) for group in groups if len(group) > 1]


def _form(layer: nn.Module) -> dict[str, tuple[int, ...]]:
    return {key: tuple(tensor.shape) for key, tensor in layer.state_dict().items()}
