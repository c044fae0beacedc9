"""A torch.export archive (.pt2) as a zip of JSON and raw weights, read without torch; never a pickle.

torch's own loader is not safe with a stranger's archive: it unpickles sample inputs, flagged weights and custom
objects, and evaluates expressions as Python. It is used nowhere. The archive is read here: its members are those of a
known list, stored without compression, and the members that would be unpickled are not opened at all.
"""

import math
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from optimizer.artifact.strict_json import NotStrictJson, parse
from optimizer.errors import InvalidCheckpoint

_MEMBERS = 50_000
_JSON_BYTES = 32 * 2**20
_SHORT_BYTES = 100
_AXES = 16

_MODEL = "models/model.json"
_WEIGHTS = "data/weights/model_weights_config.json"
_CONSTANTS = "data/constants/model_constants_config.json"
# Whatever matches may lie in the archive. Sample inputs are a pickle: they are passed over, and never opened.
_ALLOWED = re.compile(
    r"archive_format|archive_version|byteorder|\.data/version|\.data/serialization_id|models/model\.json"
    r"|data/weights/model_weights_config\.json|data/weights/weight_[0-9]{1,9}"
    r"|data/constants/model_constants_config\.json|data/constants/tensor_[0-9]{1,9}"
    r"|data/sample_inputs/model\.pt"
)
# Names inside a module: dotted words, none of which Python or torch would take for something else.
_NAME = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)*")
AGAIN = "save it again with torch.export.save of torch 2.9 or newer"

# torch's numbers for its types, as the archive has them.
DTYPES: Mapping[int, np.dtype] = {
    1: np.dtype("u1"), 2: np.dtype("i1"), 3: np.dtype("<i2"), 4: np.dtype("<i4"), 5: np.dtype("<i8"),
    6: np.dtype("<f2"), 7: np.dtype("<f4"), 8: np.dtype("<f8"), 12: np.dtype(np.bool_),
    13: np.dtype(ml_dtypes.bfloat16), 28: np.dtype("<u2"), 34: np.dtype("<u4"), 35: np.dtype("<u8"),
}  # fmt: skip


@dataclass(frozen=True)
class StoredTensor:
    """Where a tensor's elements lie: offset and strides count elements of the member's data."""

    member: str
    dtype: np.dtype
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int
    parameter: bool

    @property
    def nbytes(self) -> int:
        """Bytes of the elements."""
        return math.prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True)
class Archive:
    """What an archive holds once its members are checked; the program's JSON is not checked yet."""

    program: dict[str, Any]
    weights: Mapping[str, StoredTensor]
    constants: Mapping[str, StoredTensor]
    weights_bytes: int


def read_archive(path: Path, name: str) -> Archive:
    """Reads and checks the archive `path`; `name` begins the messages. Raises InvalidCheckpoint."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = _members(archive, path.stat().st_size, name)
            _check_form(archive, members, name)
            program = _json(archive, members, _MODEL, name)
            weights = _tensors(archive, members, _WEIGHTS, "data/weights/weight_", name)
            constants = _tensors(archive, members, _CONSTANTS, "data/constants/tensor_", name)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError, RuntimeError) as error:
        raise InvalidCheckpoint(f"{name} is a damaged zip archive: {str(error)[:200]}") from None
    if sum(tensor.nbytes for tensor in {*weights.values(), *constants.values()}) > path.stat().st_size:
        raise InvalidCheckpoint(f"{name} is damaged: its tensors overlap")
    total = sum(info.file_size for member, info in members.items() if "/weight_" in member or "/tensor_" in member)
    return Archive(program, weights, constants, total)


def read_tensors(path: Path, tensors: Mapping[str, StoredTensor]) -> dict[str, NDArray[Any]]:
    """The tensors' values, by name; names of one and the same tensor (tied weights) get one array."""
    found: dict[str, NDArray[Any]] = {}
    known: dict[StoredTensor, NDArray[Any]] = {}
    with zipfile.ZipFile(path) as archive:
        root = _root(archive.namelist())
        for name, tensor in tensors.items():
            if tensor in known:
                found[name] = known[tensor]
                continue
            data = np.frombuffer(archive.read(f"{root}/{tensor.member}"), tensor.dtype)[tensor.offset :]
            steps = [step * tensor.dtype.itemsize for step in tensor.strides]
            # In bounds: `_tensor` has checked the last element.
            view = np.lib.stride_tricks.as_strided(data, tensor.shape, steps, writeable=False)
            found[name] = known[tensor] = np.array(view, order="C")
    return found


def _root(names: list[str]) -> str:
    return names[0].partition("/")[0] if names else ""


def _members(archive: zipfile.ZipFile, size: int, name: str) -> dict[str, zipfile.ZipInfo]:
    """The members by their name below the archive's one folder."""
    infos = archive.infolist()
    if not 0 < len(infos) <= _MEMBERS:
        raise InvalidCheckpoint(f"{name} has {len(infos)} members; allowed are 1 to {_MEMBERS}")
    root = _root([info.filename for info in infos])
    found: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        folder, _, member = info.filename.partition("/")
        if folder != root or _ALLOWED.fullmatch(member) is None:
            raise InvalidCheckpoint(f"{name} holds {info.filename[:80]!r}: {_why_not(info.filename, member)}")
        if member in found:
            raise InvalidCheckpoint(f"{name} holds {member!r} twice")
        if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1 or info.file_size != info.compress_size:
            raise InvalidCheckpoint(f"{name} has {member!r} compressed or encrypted; torch.export.save does neither")
        found[member] = info
    if sum(info.file_size for info in infos) > size:
        raise InvalidCheckpoint(f"{name} is damaged: its members overlap")
    return found


def _why_not(filename: str, member: str) -> str:
    if filename.startswith("serialized_") or member.startswith("serialized_"):
        return f"the archive is in the old form, which keeps weights as pickles; {AGAIN}"
    if member.startswith(("data/weights/", "data/constants/")) and member.endswith(".pt"):
        return f"weights in a pickle, which can run code and is never opened; {AGAIN}"
    if member.startswith("data/aotinductor/") or member.endswith((".so", ".cpp", ".o")):
        return "compiled code, which is never loaded; push an archive that torch.export.save has written"
    if "custom_obj" in member or "opaque_obj" in member:
        return "a custom object, which is a pickle and never opened; export a model without custom classes"
    if member.startswith("models/"):
        return "the one program of an archive must be called model, as torch.export.save calls it"
    return "nothing that torch.export.save writes for a plain model"


def _check_form(archive: zipfile.ZipFile, members: Mapping[str, zipfile.ZipInfo], name: str) -> None:
    for member, wanted in (("archive_format", b"pt2"), ("archive_version", b"0"), ("byteorder", b"little")):
        if member not in members:
            if member == "byteorder":
                continue
            raise InvalidCheckpoint(f"{name} lacks {member!r}, which torch.export.save writes; {AGAIN}")
        info = members[member]
        text = archive.read(info) if info.file_size <= _SHORT_BYTES else b""
        if text.strip() != wanted:
            raise InvalidCheckpoint(f"{name} has {text[:20]!r} for its {member}; known is {wanted.decode()!r}")
    missing = [member for member in (_MODEL, _WEIGHTS, _CONSTANTS) if member not in members]
    if missing:
        raise InvalidCheckpoint(f"{name} lacks {missing[0]!r}; {AGAIN}")


def _json(archive: zipfile.ZipFile, members: Mapping[str, zipfile.ZipInfo], member: str, name: str) -> dict[str, Any]:
    info = members[member]
    if info.file_size > _JSON_BYTES:
        raise InvalidCheckpoint(f"{name}: {member} has {info.file_size} bytes; at most {_JSON_BYTES} are allowed")
    try:
        value = parse(archive.read(info), limit_bytes=_JSON_BYTES)
    except NotStrictJson as error:
        raise InvalidCheckpoint(f"{name}: {member} {error}") from None
    if not isinstance(value, dict):
        raise InvalidCheckpoint(f"{name}: {member} is not a JSON object")
    return value


def _tensors(
    archive: zipfile.ZipFile, members: Mapping[str, zipfile.ZipInfo], config: str, prefix: str, name: str
) -> dict[str, StoredTensor]:
    listed = _json(archive, members, config, name).get("config")
    if not isinstance(listed, dict) or len(listed) > _MEMBERS:
        raise InvalidCheckpoint(f"{name}: {config} does not list at most {_MEMBERS} tensors")
    found = {}
    for key, entry in listed.items():
        this = f"{name}: tensor {key[:80]!r}"
        if _NAME.fullmatch(key) is None:
            raise InvalidCheckpoint(f"{this} has a name that no module has")
        if not isinstance(entry, dict) or entry.get("use_pickle") is not False:
            raise InvalidCheckpoint(f"{this} is stored as a pickle, which can run code and is never opened")
        member = entry.get("path_name")
        full = f"{prefix.rpartition('/')[0]}/{member}"
        if not isinstance(member, str) or not full.startswith(prefix) or full not in members:
            raise InvalidCheckpoint(f"{this} lies in {str(member)[:80]!r}, which the archive does not hold")
        found[key] = _tensor(entry, full, members[full].file_size, this)
    return found


def _tensor(entry: Mapping[str, Any], member: str, size: int, this: str) -> StoredTensor:
    meta = entry.get("tensor_meta")
    if not isinstance(meta, dict):
        raise InvalidCheckpoint(f"{this} has no type and shape")
    dtype = DTYPES.get(meta["dtype"]) if isinstance(meta.get("dtype"), int) else None
    if dtype is None or meta.get("layout") != 7:
        raise InvalidCheckpoint(f"{this} is not a plain dense tensor of whole or floating-point numbers")
    shape, strides = _sizes(meta.get("sizes"), this), _sizes(meta.get("strides"), this)
    (offset,) = _sizes([meta.get("storage_offset")], this)
    if len(shape) != len(strides):
        raise InvalidCheckpoint(f"{this} has {len(shape)} sizes and {len(strides)} strides")
    elements = size // dtype.itemsize
    last = offset + sum((length - 1) * step for length, step in zip(shape, strides, strict=True))
    count = math.prod(shape)
    # Elements that repeat (stride 0) could fill memory from a few bytes.
    if count and (last >= elements or count > elements):
        raise InvalidCheckpoint(f"{this} reaches beyond the {size} bytes of {member!r}")
    return StoredTensor(member, dtype, shape, strides, offset if count else 0, entry.get("is_param") is True)


def _sizes(values: Any, this: str) -> tuple[int, ...]:
    if not isinstance(values, list) or len(values) > _AXES:
        raise InvalidCheckpoint(f"{this} does not have a list of at most {_AXES} sizes")
    found = [value.get("as_int") if isinstance(value, dict) and len(value) == 1 else None for value in values]
    if not all(isinstance(size, int) and not isinstance(size, bool) and 0 <= size < 2**48 for size in found):
        raise InvalidCheckpoint(f"{this} has sizes that are not whole numbers")
    return tuple(size for size in found if size is not None)
