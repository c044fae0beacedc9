"""Opens a state dict with a named architecture: makes the installed network of that name, and loads weights that fit.

Names are looked up among what is installed here, never imported by a stranger's wish: models of transformers, timm and
torchvision, and entry points of the group `stillroom.architectures`, each a callable(**arguments) -> torch.nn.Module.
"""

import importlib
import json
import tempfile
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from optimizer.artifact.rows import Rows, feeds
from optimizer.artifact.signature import TensorSpec
from optimizer.artifact.state_dict import ARCHITECTURE, WEIGHTS, Architecture, read_architecture
from optimizer.artifact.task import Task
from optimizer.errors import InvalidCheckpoint, InvalidDataset, UnsupportedModel
from optimizer.intake.predictor import predictor_of
from optimizer.intake.stages import Checkpoint, TorchModel

GROUP = "stillroom.architectures"

# Arguments by which libraries fetch or open weights of their own.
_FETCHES = ("pretrained", "checkpoint", "weights", "cache_dir", "hub")
_SEED = 0
_ROWS = 3
# Relative to the largest answer; another batch size may take other kernels.
_TOLERANCE = 1e-4
# What constructors and networks raise for arguments, weights and tensors that contradict each other.
_ERRORS = (
    RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError, AssertionError, NotImplementedError,
    OverflowError, ZeroDivisionError,
)  # fmt: skip


def load(checkpoint: Checkpoint, rows: Rows, task: Task | None = None) -> TorchModel:
    """The named network with the checkpoint's weights, which must fit exactly.

    Raises UnsupportedModel for a name that is not installed here, or a network that does not answer rows with tensors,
    InvalidCheckpoint for arguments or weights that do not fit, InvalidDataset for rows that leave out an input.
    """
    architecture = read_architecture(checkpoint.files[ARCHITECTURE])
    if architecture.library == "transformers":
        return _of_transformers(architecture, checkpoint, rows, task)
    missing = [item.name for item in architecture.inputs if item.name not in rows.arrays]
    if missing:
        raise InvalidDataset(f"the data lacks the arrays {', '.join(missing)}, which the model takes")
    network = _made(architecture)
    _fill(network, checkpoint.files[WEIGHTS], architecture.name)
    inputs = tuple(
        TensorSpec(name=item.name, datatype=item.datatype, shape=tuple(item.shape)) for item in architecture.inputs
    )
    model = TorchModel(network.float().eval(), {}, inputs, dict(checkpoint.inspection.limits), calling="positional")
    _prove(model, rows, architecture.name)
    return model


def _of_transformers(architecture: Architecture, checkpoint: Checkpoint, rows: Rows, task: Task | None) -> TorchModel:
    """As if the arguments had lain beside the weights as config.json."""
    from optimizer.intake import hf

    with tempfile.TemporaryDirectory(prefix="architecture-") as directory:
        config = Path(directory, "config.json")
        config.write_text(json.dumps(architecture.config))
        files = {config.name: config, WEIGHTS: checkpoint.files[WEIGHTS]}
        return hf.load(Checkpoint(files, checkpoint.inspection), rows, task)


def _made(architecture: Architecture) -> nn.Module:
    make = {"timm": _of_timm, "torchvision": _of_torchvision, "entry_point": _of_entry_point}[architecture.library]
    constructor = make(architecture)
    try:
        # The caller's generator is left as it was: weights that are drawn here are replaced anyway.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_SEED)
            network = constructor(**architecture.arguments)
    except _ERRORS as error:
        raise InvalidCheckpoint(f"the arguments do not make a {architecture.name!r}: {_first_line(error)}") from error
    if not isinstance(network, nn.Module):
        raise UnsupportedModel(f"{architecture.name!r} makes a {type(network).__name__}, not a torch.nn.Module")
    return network


def _of_timm(architecture: Architecture) -> Callable[..., Any]:
    timm = _library(architecture)
    if architecture.name not in timm.list_models():
        raise UnsupportedModel(f"timm {timm.__version__} has no model {architecture.name!r}")
    return lambda **arguments: timm.create_model(architecture.name, pretrained=False, **arguments)


def _of_torchvision(architecture: Architecture) -> Callable[..., Any]:
    torchvision = _library(architecture)
    if architecture.name not in torchvision.models.list_models(module=torchvision.models):
        raise UnsupportedModel(f"torchvision {torchvision.__version__} has no model {architecture.name!r}")
    return lambda **arguments: torchvision.models.get_model(architecture.name, weights=None, **arguments)


def _library(architecture: Architecture) -> Any:
    fetching = [key for key in architecture.arguments if key.startswith(_FETCHES)]
    if fetching:
        raise InvalidCheckpoint(
            f"{ARCHITECTURE} has the argument {fetching[0][:80]!r}; weights come from {WEIGHTS} and nowhere else"
        )
    try:
        return importlib.import_module(architecture.library)
    except ModuleNotFoundError:
        raise UnsupportedModel(
            f"{architecture.library} is not installed where trials run; the operator can install it there beside "
            f"stillroom (pip install {architecture.library}), or export the model with torch.export and push the .pt2"
        ) from None


def _of_entry_point(architecture: Architecture) -> Callable[..., Any]:
    installed = {point.name: point for point in entry_points(group=GROUP)}
    if architecture.name not in installed:
        known = f"installed are {', '.join(sorted(installed))}" if installed else "none is installed"
        raise UnsupportedModel(
            f"no architecture {architecture.name!r} is installed where trials run ({known}); the operator can install "
            f"a package with an entry point of that name in the group {GROUP}"
        )
    try:
        found: Callable[..., Any] = installed[architecture.name].load()
    except (ImportError, AttributeError) as error:
        raise UnsupportedModel(
            f"the architecture {architecture.name!r} is installed but cannot be imported: {_first_line(error)}"
        ) from error
    return found


def _fill(network: nn.Module, path: Path, name: str) -> None:
    """Loads the weights. One of several names of a shared weight is enough."""
    own = network.state_dict(keep_vars=True)
    try:
        weights = load_file(path)
    except SafetensorError as error:
        raise InvalidCheckpoint(f"{WEIGHTS} is damaged: {_first_line(error)}") from error
    present = {id(own[key]) for key in weights if key in own}
    problems = [
        f"{len(keys)} {what} ({', '.join(keys[:5])}{', ...' if len(keys) > 5 else ''})"
        for what, keys in (
            ("missing weights", sorted(key for key in own if key not in weights and id(own[key]) not in present)),
            ("weights that the model does not have", sorted(set(weights) - set(own))),
            ("weights of another shape", _of_other_shape(own, weights)),
        )
        if keys
    ]
    if problems:
        raise InvalidCheckpoint(f"the weights are not those of {name!r} with these arguments: {'; '.join(problems)}")
    network.load_state_dict(weights, strict=False)


def _of_other_shape(own: Mapping[str, Tensor], weights: Mapping[str, Tensor]) -> list[str]:
    return sorted(key for key in weights if key in own and own[key].shape != weights[key].shape)


def _prove(model: TorchModel, rows: Rows, name: str) -> None:
    """The network answers rows with one tensor, and each row as if it were alone."""
    together, alone = (_taken(rows, model.inputs, count) for count in (_ROWS, 1))
    predictor = predictor_of(model)
    try:
        with torch.inference_mode():
            many, one = predictor(*together), predictor(*alone)
    except _ERRORS as error:
        raise UnsupportedModel(
            f"{name!r} does not answer the inputs that {ARCHITECTURE} lists, in their order, with a tensor: "
            f"{_first_line(error)}"
        ) from error
    if not isinstance(many, Tensor) or many.ndim == 0 or many.shape[0] != _ROWS or one.shape[0] != 1:
        raise UnsupportedModel(f"{name!r} must answer with a tensor that has the rows along its first axis")
    scale = max(1e-6, float(one.abs().max()))
    if many[:1].shape != one.shape or not bool((many[:1] - one).abs().max() <= _TOLERANCE * scale):
        raise UnsupportedModel(
            f"{name!r} answers a row differently among others; every row must be answered for itself"
        )


def _taken(rows: Rows, inputs: tuple[TensorSpec, ...], count: int) -> tuple[Tensor, ...]:
    arrays = feeds(rows, inputs, np.resize(np.arange(len(rows)), count))
    return tuple(torch.from_numpy(np.array(array)) for array in arrays.values())


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
