"""Inspects a state dict with a named architecture: `model.safetensors` beside an `architecture.json`, and nothing else.

The JSON names a network that is installed where trials run and the arguments that make it; it holds no code, and
nothing is imported to read it. What convolves and what multiplies is told from the shapes of the weights.
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from optimizer.artifact.huggingface import refuse_remote_code
from optimizer.artifact.huggingface_config import facts_of
from optimizer.artifact.inspected import InputFacts, Inspection
from optimizer.artifact.rows import RESERVED, SLICE
from optimizer.artifact.safetensors_header import BadSafetensors, TensorEntry, read_header
from optimizer.artifact.signature import BATCH
from optimizer.artifact.sniff import describe
from optimizer.artifact.strict_json import NotStrictJson, parse
from optimizer.errors import InvalidCheckpoint

ARCHITECTURE = "architecture.json"
WEIGHTS = "model.safetensors"

_JSON_BYTES = 2**20
_LARGEST_AXIS = 2**31 - 1
_WEIGHT_TYPES = ("F32", "F16", "BF16", "F64", "I64", "I32", "I16", "I8", "U8", "BOOL")
_BY_AXES = {2: "linear", 3: "conv1d", 4: "conv2d", 5: "conv3d"}
# Parts of names under which networks keep the projections of attention.
_ATTENTION = ("in_proj_weight", "q_proj.", "qkv.", ".query.")

Library = Literal["transformers", "timm", "torchvision", "entry_point"]


class ArchitectureInput(BaseModel):
    """One tensor that the network's `forward` takes, in its order."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str = Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,99}$")
    datatype: Literal["FP32", "FP64", "INT64", "INT32", "INT16", "INT8", "UINT8", "BOOL"]
    # Fixed sizes and names of free axes; the first is "batch".
    shape: list[int | str] = Field(min_length=1, max_length=16)
    # Of integers that are looked up in a table.
    minimum: int | None = None
    maximum: int | None = None


class Architecture(BaseModel):
    """What `architecture.json` holds."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    library: Library
    # Of the library's model, or of the entry point.
    name: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]{0,199}$")
    # Keyword arguments of the constructor; for transformers what would stand in config.json.
    arguments: dict[str, Any] = {}
    # Empty for transformers alone, whose configs tell.
    inputs: list[ArchitectureInput] = Field(default=[], max_length=100)

    @property
    def config(self) -> dict[str, Any]:
        """The config.json of a transformers model."""
        return {**self.arguments, "model_type": self.name}


def read_architecture(path: Path) -> Architecture:
    """The architecture that a file names. Raises InvalidCheckpoint."""
    if path.stat().st_size > _JSON_BYTES:
        raise InvalidCheckpoint(
            f"{ARCHITECTURE} is {path.stat().st_size} bytes long; at most {_JSON_BYTES} are allowed"
        )
    try:
        value = parse(path.read_bytes(), limit_bytes=_JSON_BYTES)
        found = Architecture.model_validate(value)
    except NotStrictJson as error:
        raise InvalidCheckpoint(f"{ARCHITECTURE} {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][:4])
        raise InvalidCheckpoint(f"{ARCHITECTURE}: {where or 'the whole'}: {first['msg']}") from None
    _check(found)
    return found


def inspect_state_dict(files: Mapping[str, Path]) -> Inspection:
    """Inspects the files of a directory that has an architecture.json. Raises InvalidCheckpoint."""
    others = sorted(set(files) - {ARCHITECTURE, WEIGHTS})
    if others:
        raise InvalidCheckpoint(f"{others[0]} lies beside {ARCHITECTURE}; push it with {WEIGHTS} alone")
    if WEIGHTS not in files:
        raise InvalidCheckpoint(
            f"{ARCHITECTURE} is there without {WEIGHTS}; write the weights with "
            f'`safetensors.torch.save_model(model, "{WEIGHTS}")`'
        )
    architecture = read_architecture(files[ARCHITECTURE])
    tensors = _tensors(files[WEIGHTS])
    known = {"format": "state_dict", "weights_bytes": files[WEIGHTS].stat().st_size}
    if architecture.library == "transformers":
        refuse_remote_code(ARCHITECTURE, architecture.config)
        try:
            return facts_of(architecture.config).model_copy(update=known)
        except InvalidCheckpoint as error:
            raise InvalidCheckpoint(str(error).replace("config.json", f"{ARCHITECTURE}: arguments")) from None
    shapes = [len(tensor.shape) for name, tensor in tensors.items() if name.endswith("weight")]
    return Inspection(
        format="state_dict",
        kind="tensor",
        head="open",
        inputs={
            item.name: InputFacts(
                datatype=item.datatype, shape=tuple(item.shape), minimum=item.minimum, maximum=item.maximum
            )
            for item in architecture.inputs
        },
        architecture=architecture.name,
        attention=any(part in name for name in tensors for part in _ATTENTION),
        operators=dict(Counter(_BY_AXES[axes] for axes in shapes if axes in _BY_AXES)),
        weights_bytes=files[WEIGHTS].stat().st_size,
    )


def _check(found: Architecture) -> None:
    if found.library == "transformers":
        if found.inputs:
            raise InvalidCheckpoint(f"{ARCHITECTURE}: leave `inputs` out; the config of a transformers model says them")
        return
    if not found.inputs:
        raise InvalidCheckpoint(f"{ARCHITECTURE} has no `inputs`: the tensors that forward() takes, in its order")
    names = [item.name for item in found.inputs]
    if len(set(names)) < len(names):
        raise InvalidCheckpoint(f"{ARCHITECTURE} has two inputs of one name: {', '.join(names[:10])}")
    for item in found.inputs:
        if item.name in RESERVED or item.name.startswith(SLICE):
            raise InvalidCheckpoint(
                f"{ARCHITECTURE} has an input {item.name!r}, a name that data sets use for something else; rename it"
            )
        if item.shape[0] != BATCH or BATCH in item.shape[1:]:
            raise InvalidCheckpoint(
                f'{ARCHITECTURE}: the shape of input {item.name!r} must begin with "batch", the axis of the rows'
            )
        wrong = [
            axis for axis in item.shape if (not axis.isidentifier() if isinstance(axis, str) else not _is_size(axis))
        ]
        if wrong:
            raise InvalidCheckpoint(
                f"{ARCHITECTURE}: the shape of input {item.name!r} has {str(wrong[0])[:40]!r}; allowed are sizes from "
                "1 on, and names of free axes"
            )


def _is_size(axis: int) -> bool:
    return 1 <= axis <= _LARGEST_AXIS


def _tensors(path: Path) -> dict[str, TensorEntry]:
    try:
        tensors = read_header(path)
    except BadSafetensors as error:
        found = describe(path)
        raise InvalidCheckpoint(f"{WEIGHTS} {error}{'' if found is None else f'; it is {found}'}") from None
    if not tensors:
        raise InvalidCheckpoint(f"{WEIGHTS} holds no weights")
    for name, tensor in tensors.items():
        if tensor.dtype not in _WEIGHT_TYPES:
            raise InvalidCheckpoint(
                f"{WEIGHTS}: tensor {name[:80]!r} is {tensor.dtype}; allowed are {', '.join(_WEIGHT_TYPES)}"
            )
    return tensors
