"""Training saved on its way: after a kill it goes on at the very update, and ends with the same weights.

One safetensors file: tensors by name, and the figures as JSON in its header. It is replaced by renaming, so it is whole
or not there; it is never unpickled.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from optimizer.train.hooks import Hook
from optimizer.train.precision import scaler_of
from optimizer.train.state import State

_FILE, _PARTIAL = "training.safetensors", "training.partial"
_STATE, _IDENTITY = "state", "identity"
_STATES: TypeAdapter[State] = TypeAdapter(State)


@dataclass
class Moving:
    """Everything that training changes, besides its `State`."""

    trained: Sequence[nn.Module]
    optimiser: torch.optim.Optimizer
    hooks: Sequence[Hook]
    # Orders of rows are drawn from the first; its state is that before the present epoch's draw.
    order: Tensor
    # Of what is drawn at every update.
    random: torch.Generator
    # Best weights so far, by name.
    best: dict[str, Tensor]
    # What the gradients of 16-bit floats are multiplied with; None elsewhere.
    scaler: torch.amp.GradScaler | None = None


def save(directory: Path, identity: str, state: State, moving: Moving) -> None:
    """Writes the present state. `identity` names the training, so that no other goes on from it.

    Raises OSError when it cannot be written; what was saved before is still there then.
    """
    partial = directory / _PARTIAL
    metadata = {_STATE: _STATES.dump_json(state).decode(), _IDENTITY: identity}
    try:
        directory.mkdir(parents=True, exist_ok=True)
        save_file(_apart(_tensors(moving)), partial, metadata)
        with partial.open("rb") as written:
            os.fsync(written.fileno())
        partial.replace(directory / _FILE)
    except SafetensorError as error:
        raise OSError(str(error)) from error
    finally:
        partial.unlink(missing_ok=True)


def load(directory: Path, identity: str, moving: Moving) -> State | None:
    """Takes up what `save` wrote; None (and nothing is changed) when there is nothing of this training."""
    try:
        with safe_open(directory / _FILE, "pt") as file:
            metadata = file.metadata() or {}
            if metadata.get(_IDENTITY) != identity:
                return None
            state = _STATES.validate_json(metadata[_STATE])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, ValidationError, KeyError):
        return None
    moving.scaler = scaler_of(state.precision)
    _take(tensors, moving)
    return state


def forget(directory: Path) -> None:
    """Removes what was saved: the training has ended."""
    (directory / _FILE).unlink(missing_ok=True)


def _tensors(moving: Moving) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {"order": moving.order, "random": moving.random.get_state()}
    found["global"] = torch.get_rng_state()
    if _on_gpu(moving):
        found["gpu"] = torch.cuda.get_rng_state()
    for index, module in enumerate(moving.trained):
        found |= {f"trained.{index}.{name}": tensor for name, tensor in module.state_dict().items()}
    found |= {f"best.{name}": tensor for name, tensor in moving.best.items()}
    for index, hook in enumerate(moving.hooks):
        found |= {f"hook.{index}.{name}": tensor for name, tensor in hook.state().items()}
    for number, values in moving.optimiser.state_dict()["state"].items():
        found |= {f"optimiser.{number}.{key}": value for key, value in values.items() if isinstance(value, Tensor)}
    if moving.scaler is not None:
        found |= {f"scaler.{key}": torch.tensor(value) for key, value in moving.scaler.state_dict().items()}
    return found


def _take(tensors: dict[str, Tensor], moving: Moving) -> None:
    moving.order = tensors["order"]
    moving.random.set_state(tensors["random"])
    torch.set_rng_state(tensors["global"])
    if _on_gpu(moving):
        torch.cuda.set_rng_state(tensors["gpu"])
    for index, module in enumerate(moving.trained):
        module.load_state_dict(_below(tensors, f"trained.{index}."))
    moving.best.clear()
    moving.best.update(_below(tensors, "best."))
    for index, hook in enumerate(moving.hooks):
        hook.restore(_below(tensors, f"hook.{index}."))
    _take_optimiser(_below(tensors, "optimiser."), moving.optimiser)
    if moving.scaler is not None:
        moving.scaler.load_state_dict({key: value.item() for key, value in _below(tensors, "scaler.").items()})


def _take_optimiser(tensors: dict[str, Tensor], optimiser: torch.optim.Optimizer) -> None:
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    states: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        number, key = name.split(".", 1)
        parameter = parameters[int(number)]
        # In the parameter's own order in memory, as the optimiser would have made it.
        alike = tensor.shape == parameter.shape and tensor.ndim > 0
        value = torch.empty_like(parameter, dtype=tensor.dtype).copy_(tensor) if alike else tensor
        states.setdefault(int(number), {})[key] = value.detach()
    optimiser.load_state_dict(optimiser.state_dict() | {"state": states})


def _below(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _apart(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The file holds no two names for one piece of memory, and no order of axes but the usual one."""
    seen: set[int] = set()
    result = {}
    for name, tensor in tensors.items():
        plain = tensor.detach().contiguous()
        where = plain.untyped_storage().data_ptr()
        result[name] = plain.clone() if where in seen else plain
        seen.add(where)
    return result


def _on_gpu(moving: Moving) -> bool:
    return any(parameter.is_cuda for module in moving.trained for parameter in module.parameters())
