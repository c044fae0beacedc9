"""Arrays to and from the Open Inference Protocol's raw tensors: little-endian, row-major, no padding.

BYTES tensors are arrays of `bytes` objects; on the wire each element is a 4-byte little-endian length and its bytes.
BF16 has no numpy type of its own: it arrives as float32, exactly, and cannot be sent.
"""

import struct

import numpy as np
from numpy.typing import NDArray

from service.errors import InvalidArgument, ServiceError

Array = NDArray[np.generic]

_NUMPY: dict[str, str] = {
    "BOOL": "?",
    "UINT8": "<u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "<i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
}
_DATATYPES = {np.dtype(code): name for name, code in _NUMPY.items()}


def datatype_of(array: Array) -> str:
    """The protocol's name of an array's type. Raises InvalidArgument for a type that the protocol does not have."""
    if array.dtype.kind in "OSU":
        return "BYTES"
    name = _DATATYPES.get(array.dtype.newbyteorder("<"))
    if name is None:
        raise InvalidArgument(f"an array of type {array.dtype} cannot be sent; use one of {', '.join(_NUMPY)}, BYTES")
    return name


def to_raw(array: Array) -> bytes:
    """An array's bytes on the wire."""
    datatype = datatype_of(array)
    if datatype != "BYTES":
        return np.ascontiguousarray(array, dtype=_NUMPY[datatype]).tobytes()
    pieces = []
    for item in array.ravel():
        value = item.encode() if isinstance(item, str) else item
        if not isinstance(value, bytes):
            raise InvalidArgument(f"elements of a BYTES tensor are bytes or text; got {type(item).__name__}")
        pieces.append(struct.pack("<I", len(value)) + value)
    return b"".join(pieces)


def from_raw(raw: bytes, datatype: str, shape: tuple[int, ...]) -> Array:
    """The array that `raw` holds; a read-only view into it where possible. Raises ServiceError when it does not fit."""
    if datatype == "BYTES":
        return np.array(_elements(raw), dtype=object).reshape(shape)
    try:
        if datatype == "BF16":
            # The upper half of a float32.
            return (np.frombuffer(raw, "<u2").astype("<u4") << 16).view("<f4").reshape(shape)
        if datatype in _NUMPY:
            return np.frombuffer(raw, _NUMPY[datatype]).reshape(shape)
    except ValueError as error:
        sent = f"{len(raw)} bytes for a {datatype} tensor of shape {list(shape)}"
        raise ServiceError(f"the server sent {sent}") from error
    raise ServiceError(f"the server sent a tensor of the unknown type {datatype!r}")


def _elements(raw: bytes) -> list[bytes]:
    """The elements of a BYTES tensor."""
    found = []
    position = 0
    while position < len(raw):
        start = position + 4
        length = int.from_bytes(raw[position:start], "little")
        position = start + length
        if position > len(raw):
            raise ServiceError("the server sent a BYTES tensor that ends within an element")
        found.append(raw[start:position])
    return found
