"""The header of a safetensors file, checked before anything is allocated (safetensors format specification, v1)."""

import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from optimizer.artifact.strict_json import NotStrictJson, parse

# The specification's own limit is 100 MB; a header of 16 MiB already names some 100,000 tensors.
_HEADER_BYTES = 16 * 2**20
_TENSORS = 100_000
_AXES = 16
# Size in bits: newer types pack two elements a byte.
_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "I16": 16, "U16": 16, "F16": 16, "BF16": 16,
    "I32": 32, "U32": 32, "F32": 32, "I64": 64, "U64": 64, "F64": 64, "C64": 64,
}  # fmt: skip
_NUMPY: dict[str, np.dtype] = {
    "BOOL": np.dtype(np.bool_),
    "U8": np.dtype("u1"),
    "I8": np.dtype("i1"),
    "U16": np.dtype("<u2"),
    "I16": np.dtype("<i2"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "U32": np.dtype("<u4"),
    "I32": np.dtype("<i4"),
    "F32": np.dtype("<f4"),
    "U64": np.dtype("<u8"),
    "I64": np.dtype("<i8"),
    "F64": np.dtype("<f8"),
}


class BadSafetensors(ValueError):
    """Not a safetensors file, or a damaged one; the message goes on from the file's name ("is truncated: ...")."""


@dataclass(frozen=True)
class TensorEntry:
    """One tensor: its type by the format's name, its shape, and where its bytes lie in the file."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    @property
    def numpy_dtype(self) -> np.dtype | None:
        """The numpy type, None for a type that numpy lacks."""
        return _NUMPY.get(self.dtype)


def read_header(path: Path) -> dict[str, TensorEntry]:
    """All tensors by name; offsets are from the start of the file. Raises BadSafetensors.

    After it returns, the tensors cover the file's data without gap or overlap, and every size fits its shape.
    """
    size = path.stat().st_size
    with path.open("rb") as stream:
        prefix = stream.read(8)
        if len(prefix) < 8:
            raise BadSafetensors(f"is truncated: {size} bytes are too few for a safetensors file")
        (length,) = struct.unpack("<Q", prefix)
        if length > _HEADER_BYTES:
            raise BadSafetensors(
                f"is not a safetensors file: its header would have {length} bytes (at most {_HEADER_BYTES} are allowed)"
            )
        if 8 + length > size:
            raise BadSafetensors(f"is truncated: its header has {length} bytes, the whole file only {size}")
        header = stream.read(length)
    if header[:1] != b"{":
        raise BadSafetensors("is not a safetensors file: its header is not a JSON object")
    try:
        value = parse(header, limit_bytes=_HEADER_BYTES, depth=4)
    except NotStrictJson as error:
        raise BadSafetensors(f"is damaged: its header {error}") from None
    return _entries(value, 8 + length, size)


def _entries(header: dict[str, Any], start: int, size: int) -> dict[str, TensorEntry]:
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise BadSafetensors("is damaged: its metadata must map text to text")
    if len(header) > _TENSORS:
        raise BadSafetensors(f"has {len(header)} tensors; at most {_TENSORS} are allowed")
    entries = {name: _entry(name[:80], value, start) for name, value in header.items()}
    position = start
    for name, entry in sorted(entries.items(), key=lambda item: (item[1].begin, item[1].end)):
        if entry.begin != position:
            raise BadSafetensors(f"is damaged: the bytes of tensor {name[:80]!r} overlap others or leave a gap")
        position = entry.end
    if position > size:
        raise BadSafetensors(f"is truncated: its tensors need {position} bytes, the file has {size}")
    if position < size:
        raise BadSafetensors(f"is damaged: {size - position} bytes after the last tensor belong to nothing")
    return entries


def _entry(name: str, value: Any, start: int) -> TensorEntry:
    if not isinstance(value, dict) or set(value) != {"dtype", "shape", "data_offsets"}:
        raise BadSafetensors(f"is damaged: tensor {name!r} must have exactly dtype, shape and data_offsets")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _BITS:
        raise BadSafetensors(f"has tensor {name!r} of type {str(dtype)[:20]!r}; allowed are {', '.join(_BITS)}")
    if not isinstance(shape, list) or len(shape) > _AXES or not all(_is_size(axis) for axis in shape):
        raise BadSafetensors(f"is damaged: the shape of tensor {name!r} is not a list of at most {_AXES} sizes")
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(_is_size(offset) for offset in offsets):
        raise BadSafetensors(f"is damaged: the offsets of tensor {name!r} are not two positions")
    bits = math.prod(shape) * _BITS[dtype]
    if bits >= 2**63:
        raise BadSafetensors(f"is damaged: the shape of tensor {name!r} overflows: {shape}")
    if 8 * (offsets[1] - offsets[0]) != bits:
        raise BadSafetensors(
            f"is damaged: tensor {name!r} of type {dtype} and shape {shape} has {offsets[1] - offsets[0]} bytes"
        )
    return TensorEntry(dtype, tuple(shape), start + offsets[0], start + offsets[1])


def _is_size(value: Any) -> bool:
    # bool is an int in Python, and `true` is no size.
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63
