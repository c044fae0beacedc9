"""Does structural edits to a network; the only place that does, so that what is done can be recorded and done again."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, assert_never

from torch import nn
from transformers.pytorch_utils import Conv1D

from optimizer.artifact.inspected import Kind
from optimizer.errors import InvalidCheckpoint, UnsupportedModel
from optimizer.intake.edits import AnotherConfig, Edit, Factorise, KeepLayers, NewHead, Share
from optimizer.intake.hf import LIBRARY_ERRORS, build
from optimizer.intake.stages import TorchModel

# How modules of the transformers library know their place, and its configs how many there are.
_PLACE = "layer_idx"
_COUNTS = ("num_hidden_layers",)
_KINDS_BY_LAYER = "layer_types"
# Inputs of the transformers library that hold sound.
_SOUND = ("input_values", "input_features")
# Batch, channels, height and width.
_PICTURE_AXES = 4
# What a config says of the classes.
_CLASSES = ("architectures", "id2label", "label2id", "num_labels", "problem_type")


def apply(model: TorchModel, edit: Edit) -> TorchModel:
    """Edits `model.network` in place and returns the model with the edit recorded.

    Modules that an edit makes have fresh weights: the caller fills them in. After `AnotherConfig` the network is
    another one altogether, and only the inputs stay. Raises UnsupportedModel when the network has nothing that could be
    edited so, InvalidCheckpoint for a config that describes no network.
    """
    match edit:
        case AnotherConfig():
            return replace(model, network=_built(edit), config=edit.config, edits=(edit,))
        case KeepLayers():
            _keep_layers(model.network, edit)
        case Factorise():
            for name, rank in edit.ranks.items():
                _put(model.network, name, factors(_at(model.network, name), name, rank))
        case Share():
            for name in edit.modules[1:]:
                _put(model.network, name, _at(model.network, edit.modules[0]))
        case NewHead():
            _put(model.network, edit.module, _head(_at(model.network, edit.module), edit))
        case _:
            assert_never(edit)
    model.network.train(model.network.training)
    return replace(model, edits=(*model.edits, edit))


def of_another_config(model: TorchModel, differences: Mapping[str, Any]) -> TorchModel:
    """A network with fresh weights for the same task; of another `model_type`, only the classes are taken over.

    `model` stays as it is. Raises InvalidCheckpoint for a config that the library does not accept.
    """
    another = differences.get("model_type", model.config.get("model_type")) != model.config.get("model_type")
    base = {key: value for key, value in model.config.items() if not another or key in _CLASSES}
    return apply(model, AnotherConfig(config=base | dict(differences), kind=_kind_of(model)))


def _kind_of(model: TorchModel) -> Kind:
    """What the inputs hold, which says what kind of classifier a config is of that names no architecture."""
    if any(spec.name in _SOUND for spec in model.inputs):
        return "audio"
    return "image" if any(len(spec.shape) == _PICTURE_AXES for spec in model.inputs) else "text"


def factors(layer: nn.Module, name: str, rank: int) -> nn.Sequential:
    """Two layers with `rank` values between them and fresh weights, which can stand where `layer` is.

    Only the second has a bias. Raises UnsupportedModel for a layer that has no such form.
    """
    if isinstance(layer, nn.Linear):
        return nn.Sequential(
            nn.Linear(layer.in_features, rank, bias=False),
            nn.Linear(rank, layer.out_features, bias=layer.bias is not None),
        )
    if isinstance(layer, Conv1D):
        return nn.Sequential(nn.Linear(layer.nx, rank, bias=False), nn.Linear(rank, layer.nf))
    if isinstance(layer, nn.Conv2d) and is_pointwise(layer):
        down, right = layer.stride
        return nn.Sequential(
            nn.Conv2d(layer.in_channels, rank, 1, (down, right), bias=False),
            nn.Conv2d(rank, layer.out_channels, 1, bias=layer.bias is not None),
        )
    raise UnsupportedModel(f"{name!r} ({type(layer).__name__}) is no linear layer or 1x1 convolution")


def is_pointwise(layer: nn.Conv2d) -> bool:
    """Whether the convolution is a linear layer over channels: kernel 1x1, one group, nothing padded."""
    return set(layer.kernel_size) == {1} and layer.groups == 1 and layer.padding in (0, (0, 0), "valid")


def _built(edit: AnotherConfig) -> nn.Module:
    try:
        return build(edit.config, edit.kind)
    except LIBRARY_ERRORS as error:
        raise InvalidCheckpoint(f"the config makes no network: {str(error).splitlines()[0][:300]}") from error


def _keep_layers(network: nn.Module, edit: KeepLayers) -> None:
    stack = _at(network, edit.module)
    if not isinstance(stack, nn.ModuleList | nn.Sequential):
        raise UnsupportedModel(f"{edit.module!r} ({type(stack).__name__}) is no list of layers")
    before = len(stack)
    if list(edit.layers) != sorted(set(edit.layers) & set(range(before))):
        raise UnsupportedModel(
            f"{edit.module!r} has {before} layers; {list(edit.layers)} are not some of them in order"
        )
    # In place, so that a sequence of its own class stays one.
    for index in sorted(set(range(before)) - set(edit.layers), reverse=True):
        del stack[index]
    for place, layer in enumerate(stack):
        for module in layer.modules():
            if isinstance(getattr(module, _PLACE, None), int):
                setattr(module, _PLACE, place)
    parent = network.get_submodule(edit.module.rpartition(".")[0])
    config = getattr(parent, "config", None)
    for key in _COUNTS:
        if getattr(config, key, None) == before:
            setattr(config, key, len(stack))
    kinds = getattr(config, _KINDS_BY_LAYER, None)
    if isinstance(kinds, list) and len(kinds) == before:
        setattr(config, _KINDS_BY_LAYER, [kinds[index] for index in edit.layers])


def _head(layer: nn.Module, edit: NewHead) -> nn.Module:
    if isinstance(layer, nn.Linear):
        return nn.Linear(layer.in_features, edit.outputs, bias=layer.bias is not None)
    raise UnsupportedModel(f"{edit.module!r} ({type(layer).__name__}) is no linear layer")


def _at(network: nn.Module, path: str) -> nn.Module:
    try:
        return network.get_submodule(path)
    except AttributeError as error:
        raise UnsupportedModel(f"this network has no part {path!r}") from error


def _put(network: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(_at(network, parent), name, module)
