"""Keeps a torch model as config.json, safetensors and a record of what passes changed in its shape; never a pickle.

Pruning leaves a network that its config no longer describes. The record says, module by module, which attributes and
weight shapes differ from those that the config gives: enough to build the network from the config, resize it, and load
the weights strictly.
"""

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict
from safetensors.torch import load_file, save_file
from torch import nn

from optimizer.artifact.inspected import Kind
from optimizer.artifact.signature import TensorSpec
from optimizer.errors import InvalidCheckpoint
from optimizer.intake.hf import LIBRARY_ERRORS, build
from optimizer.intake.stages import TorchModel

_RECORD = "architecture.json"
_WEIGHTS = "model.safetensors"
# What a config says of the classes.
_CLASSES = ("id2label", "label2id", "num_labels")

# What an attribute may be: sizes, and tuples of sizes (a normalisation's shape).
Size = int | tuple[int, ...]


class ModuleChange(BaseModel):
    """How one module differs from what its config says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    attributes: dict[str, Size] = {}
    # Shapes of its own parameters and buffers.
    shapes: dict[str, tuple[int, ...]] = {}


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Kind
    config: dict[str, Any]
    inputs: tuple[TensorSpec, ...]
    limits: dict[str, int]
    changes: dict[str, ModuleChange]


def save(model: TorchModel, directory: Path) -> None:
    """Writes the model into an existing directory."""
    kind = _kind_of(model)
    record = _Record(
        kind=kind,
        config=dict(model.config),
        inputs=model.inputs,
        limits=dict(model.limits),
        changes=changes(build(model.config, kind), model.network),
    )
    # Cloned: safetensors refuses tensors that share memory, as tied weights do.
    weights = {name: tensor.detach().contiguous().clone() for name, tensor in model.network.state_dict().items()}
    save_file(weights, directory / _WEIGHTS)
    (directory / _RECORD).write_text(record.model_dump_json(indent=1))


def load(directory: Path) -> TorchModel:
    """Reads what `save` wrote; every weight, buffer and attribute is as it was."""
    record = _Record.model_validate(json.loads((directory / _RECORD).read_text()))
    network = build(record.config, record.kind)
    resize(network, record.changes)
    network.load_state_dict(load_file(directory / _WEIGHTS), strict=True)
    return TorchModel(network.eval(), record.config, record.inputs, record.limits)


def resized(model: TorchModel) -> bool:
    """Whether passes have changed the network, so that its config no longer describes it."""
    return bool(changes(build(model.config, _kind_of(model)), model.network))


def of_another_config(model: TorchModel, differences: Mapping[str, Any]) -> TorchModel:
    """A network with fresh weights for the same task; of another `model_type`, only the classes are taken over.

    Raises InvalidCheckpoint for a config that the library does not accept.
    """
    another = differences.get("model_type", model.config.get("model_type")) != model.config.get("model_type")
    base = {key: value for key, value in model.config.items() if not another or key in _CLASSES}
    config = base | dict(differences)
    try:
        network = build(config, _kind_of(model))
    except LIBRARY_ERRORS as error:
        raise InvalidCheckpoint(f"the config makes no network: {str(error).splitlines()[0][:300]}") from error
    return dataclasses.replace(model, network=network, config=config)


def changes(plain: nn.Module, changed: nn.Module) -> dict[str, ModuleChange]:
    """What makes `changed` of `plain`, by module name. Both must have the same modules."""
    modules = dict(changed.named_modules())
    found = {}
    for name, module in plain.named_modules():
        other = modules[name]
        attributes = {
            key: value for key, value in _sizes(other).items() if key in vars(module) and vars(module)[key] != value
        }
        mine, theirs = _tensors(module), _tensors(other)
        shapes = {key: tuple(theirs[key].shape) for key in theirs if mine[key].shape != theirs[key].shape}
        if attributes or shapes:
            found[name] = ModuleChange(attributes=attributes, shapes=shapes)
    return found


def resize(network: nn.Module, record: Mapping[str, ModuleChange]) -> None:
    """Gives the modules the recorded attributes and shapes; the resized weights are zeros until they are loaded."""
    modules = dict(network.named_modules())
    for name, change in record.items():
        module = modules[name]
        for key, value in change.attributes.items():
            setattr(module, key, value)
        for key, shape in change.shapes.items():
            old = _tensors(module)[key]
            new = torch.zeros(shape, dtype=old.dtype)
            if isinstance(old, nn.Parameter):
                setattr(module, key, nn.Parameter(new, requires_grad=old.requires_grad))
            else:
                setattr(module, key, new)


def _sizes(module: nn.Module) -> dict[str, Size]:
    return {
        key: value
        for key, value in vars(module).items()
        if not key.startswith("_") and (_is_size(value) or (isinstance(value, tuple) and all(map(_is_size, value))))
    }


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _tensors(module: nn.Module) -> dict[str, torch.Tensor]:
    return {**dict(module.named_parameters(recurse=False)), **dict(module.named_buffers(recurse=False))}


def _kind_of(model: TorchModel) -> Kind:
    return "image" if any(spec.name == "pixel_values" for spec in model.inputs) else "text"
