"""Stacks of layers that can be removed one by one: encoder and decoder layers, residual blocks."""

import copy
from dataclasses import replace

from torch import nn

from optimizer.errors import OptimizerError, UnsupportedModel
from optimizer.intake.editing import apply
from optimizer.intake.edits import KeepLayers
from optimizer.intake.stages import TorchModel
from optimizer.passes.context import Context
from optimizer.passes.proof import require_same_shape, shape_of, type_of
from optimizer.passes.weight_layers import weight_layers


def without(model: TorchModel, layers: dict[str, list[int]]) -> TorchModel:
    """`model` without these layers of each stack, in place."""
    # Inner stacks first: removing a layer of an outer one gives the others new paths.
    for name, removed in sorted(layers.items(), key=lambda item: -item[0].count(".")):
        count = len(stack_at(model.network, name))
        kept = tuple(index for index in range(count) if index not in removed)
        if removed:
            model = apply(model, KeepLayers(module=name, layers=kept))
    return model


def stack_at(network: nn.Module, name: str) -> nn.ModuleList | nn.Sequential:
    """The list of layers of this name."""
    stack = network.get_submodule(name)
    assert isinstance(stack, nn.ModuleList | nn.Sequential)
    return stack


def copied(model: TorchModel) -> TorchModel:
    """The model with a network of its own."""
    return replace(model, network=copy.deepcopy(model.network))


def removable(model: TorchModel, context: Context) -> dict[str, list[int]]:
    """By name of the stack, the places of the layers without any one of which the network still answers alike in shape.

    A stack is a list of two or more layers of one class. Raises UnsupportedModel when there is none.
    """
    shape = shape_of(model, context)
    found: dict[str, list[int]] = {}
    for name, stack in model.network.named_modules():
        if not _is_stack(stack) or _inside(name, found):
            continue
        places = [
            place for place in range(len(stack_at(model.network, name))) if _runs(model, name, place, shape, context)
        ]
        if places:
            found[name] = places
    if not found:
        raise UnsupportedModel(
            f"this {type_of(model)!r} network has no stack of layers of one kind that could be removed one by one"
        )
    return found


def _inside(name: str, found: dict[str, list[int]]) -> bool:
    """Whether the module is part of a layer that can be removed itself."""
    return any(name.startswith(f"{stack}.{place}.") for stack, places in found.items() for place in places)


def _is_stack(module: nn.Module) -> bool:
    if not isinstance(module, nn.ModuleList | nn.Sequential) or len(module) < 2:
        return False
    # A layer does more than multiply once: the convolutions within a residual block are no stack.
    return len({type(layer) for layer in module}) == 1 and all(len(weight_layers(layer)) > 1 for layer in module)


def _runs(model: TorchModel, name: str, place: int, shape: tuple[int, ...], context: Context) -> bool:
    try:
        require_same_shape(without(copied(model), {name: [place]}), shape, context)
    except OptimizerError:
        return False
    return True
