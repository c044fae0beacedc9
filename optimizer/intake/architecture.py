"""Keeps a torch model as safetensors and a record of what passes changed in it; never a pickle.

A network that passes have changed is no longer what the checkpoint's files describe. The record holds the structural
edits in their order, and, module by module, which attributes and weight shapes differ once they are done: enough to
open the checkpoint again (whatever its format), edit and resize its network, and load the weights strictly.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict
from safetensors.torch import load_file, save_file
from torch import nn

from optimizer.artifact.signature import TensorSpec
from optimizer.intake.editing import apply
from optimizer.intake.edits import AnotherConfig, Edit
from optimizer.intake.stages import Calling, TorchModel

_RECORD = "architecture.json"
_WEIGHTS = "model.safetensors"

# What an attribute may be: sizes, and tuples of sizes (a normalisation's shape).
Size = int | tuple[int, ...]


class ModuleChange(BaseModel):
    """How one module differs from what its config says."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    attributes: dict[str, Size] = {}
    # Shapes of its own parameters and buffers.
    shapes: dict[str, tuple[int, ...]] = {}


# Opens the checkpoint anew, as its owner trained it.
Source = Callable[[], TorchModel]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    config: dict[str, Any]
    inputs: tuple[TensorSpec, ...]
    limits: dict[str, int]
    output: str
    calling: Calling
    edits: tuple[Edit, ...]
    # What differs from the source after the edits, by module.
    changes: dict[str, ModuleChange]


def save(model: TorchModel, directory: Path, source: Source) -> None:
    """Writes the model into an existing directory; `source` is the checkpoint that it came from."""
    record = _Record(
        config=dict(model.config),
        inputs=model.inputs,
        limits=dict(model.limits),
        output=model.output,
        calling=model.calling,
        edits=model.edits,
        changes=changes(_edited(model, source).network, model.network),
    )
    # Cloned: safetensors refuses tensors that share memory, as tied weights do.
    weights = {name: tensor.detach().contiguous().clone() for name, tensor in model.network.state_dict().items()}
    save_file(weights, directory / _WEIGHTS)
    (directory / _RECORD).write_text(record.model_dump_json(indent=1))


def load(directory: Path, source: Source) -> TorchModel:
    """Reads what `save` wrote; every weight, buffer and attribute is as it was."""
    record = _Record.model_validate(json.loads((directory / _RECORD).read_text()))
    described = TorchModel(
        nn.Identity(), record.config, record.inputs, record.limits, record.output, record.calling, record.edits
    )
    model = _edited(described, source)
    resize(model.network, record.changes)
    model.network.load_state_dict(load_file(directory / _WEIGHTS), strict=True)
    model.network.eval()
    return model


def _edited(model: TorchModel, source: Source) -> TorchModel:
    """`model` with another network: the checkpoint's, with the model's edits done to it; the weights mean nothing."""
    first = model.edits[0] if model.edits else None
    network = nn.Identity() if isinstance(first, AnotherConfig) else source().network
    edited = replace(model, network=network, edits=())
    for edit in model.edits:
        edited = apply(edited, edit)
    return edited


def resized(model: TorchModel, source: Source) -> bool:
    """Whether passes have changed the network, so that its config no longer describes it."""
    described = all(isinstance(edit, AnotherConfig) for edit in model.edits)
    return not described or bool(changes(_edited(model, source).network, model.network))


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
    """Gives the modules the recorded attributes and shapes; the resized weights are zeros until they are loaded.

    Modules that shared a weight still share it.
    """
    modules = dict(network.named_modules())
    resized: dict[tuple[nn.Parameter, tuple[int, ...]], nn.Parameter] = {}
    for name, change in record.items():
        module = modules[name]
        for key, value in change.attributes.items():
            setattr(module, key, value)
        for key, shape in change.shapes.items():
            old = _tensors(module)[key]
            new = torch.zeros(shape, dtype=old.dtype)
            if isinstance(old, nn.Parameter):
                new = resized.setdefault((old, shape), nn.Parameter(new, requires_grad=old.requires_grad))
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
