"""Bytes of ModelInferRequest and ModelInferResponse <-> arrays: the only file that knows their wire form.

Raw tensors become read-only views into the decoded message. Raw form: little-endian, row-major, no padding; a BYTES
element is its length (uint32) and its bytes. Typed contents follow the protocol's table.
"""

import struct
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from optimizer.artifact.signature import TensorSpec, numpy_dtype
from service.errors import InvalidArgument
from service.types import Array, InferResponse
from service.wire.open_inference import grpc_service_pb2 as wire

# Typed field of each data type; FP16 and BF16 have none.
_CONTENTS = {
    "BOOL": "bool_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
# Data types that share a wider field: the field's values may not fit.
_NARROW = frozenset({"INT8", "INT16", "UINT8", "UINT16"})

assert sys.byteorder == "little", "tensors travel little-endian and are never swapped"


def decode(payload: bytes) -> wire.ModelInferRequest:
    """Parses a request. Raises InvalidArgument."""
    try:
        return wire.ModelInferRequest.FromString(payload)
    except DecodeError:
        raise InvalidArgument("the message is not a ModelInferRequest of the Open Inference Protocol") from None


def from_raw(raw: bytes, name: str, datatype: str, shape: tuple[int, ...], elements: int, model: str) -> Array:
    """A tensor of checked shape (`elements` is its product) from raw contents. Raises InvalidArgument."""
    if datatype == "BYTES":
        return _split_bytes(raw, name, elements, model).reshape(shape)
    dtype = numpy_dtype(datatype)
    expected = elements * dtype.itemsize
    if len(raw) != expected:
        raise InvalidArgument(
            f"input byte size mismatch for input '{name}' for model '{model}'. Expected {expected}, got {len(raw)}"
        )
    if datatype == "BOOL":
        octets = np.frombuffer(raw, np.uint8)
        # A bool that is neither 0 nor 1 is undefined behaviour further down.
        return (
            (octets != 0).reshape(shape) if octets.size and octets.max() > 1 else octets.view(np.bool_).reshape(shape)
        )
    return np.frombuffer(raw, dtype).reshape(shape)


def from_contents(
    contents: wire.InferTensorContents, name: str, datatype: str, shape: tuple[int, ...], elements: int, model: str
) -> Array:
    """A tensor of checked shape from typed contents. Raises InvalidArgument."""
    field = _CONTENTS.get(datatype)
    if field is None:
        raise InvalidArgument(
            f"input '{name}' for model '{model}' is {datatype}, which travels in raw_input_contents only"
        )
    for descriptor, _ in contents.ListFields():
        if descriptor.name != field:
            raise InvalidArgument(
                f"unexpected explicit tensor data for input tensor '{name}' for model '{model}': "
                f"{datatype} travels in {field}, not in {descriptor.name}"
            )
    values: Sequence[Any] = getattr(contents, field)
    if len(values) != elements:
        kind = "string elements" if datatype == "BYTES" else "elements"
        raise InvalidArgument(
            f"unexpected number of {kind} for input '{name}' for model '{model}': "
            f"expected {elements} {kind} and got {len(values)}"
        )
    if datatype == "BYTES":
        return _objects(list(values)).reshape(shape)
    dtype = numpy_dtype(datatype)
    if datatype in _NARROW:
        return _narrowed(values, dtype, name, datatype, model).reshape(shape)
    return np.array(values, dtype).reshape(shape)


def encode(
    response: InferResponse,
    model: str,
    version: str,
    request_id: str,
    specs: Sequence[TensorSpec],
    wanted: Sequence[int],
) -> bytes:
    """The answer: raw contents always, one entry for each wanted output, in the order asked."""
    message = wire.ModelInferResponse(model_name=model, model_version=version, id=request_id)
    timings = response.timings
    parameters = message.parameters
    # int64 is the widest kind that every dialect of the protocol reads.
    parameters["queue_ns"].int64_param = timings.queue_ns
    parameters["batch_ns"].int64_param = timings.batch_ns
    parameters["compute_ns"].int64_param = timings.compute_ns
    parameters["batch_rows"].int64_param = timings.batch_rows
    for position in wanted:
        array, spec = response.arrays[position], specs[position]
        message.outputs.add(name=spec.name, datatype=spec.datatype, shape=array.shape)
        message.raw_output_contents.append(to_raw(array, spec.datatype))
    return message.SerializeToString()


def to_raw(array: Array, datatype: str) -> bytes:
    """A tensor's raw contents."""
    if datatype == "BYTES":
        return b"".join(struct.pack("<I", len(element)) + element for element in array.ravel().tolist())
    return array.tobytes()


def _split_bytes(raw: bytes, name: str, elements: int, model: str) -> Array:
    found: list[bytes] = []
    position = 0
    end = len(raw)
    while position < end:
        if position + 4 > end:
            raise InvalidArgument(
                f"incomplete string length indicator for inference input '{name}' for model '{model}'"
            )
        (length,) = struct.unpack_from("<I", raw, position)
        position += 4
        if length > end - position:
            raise InvalidArgument(
                f"incomplete string data for inference input '{name}' for model '{model}', "
                f"expecting string of length {length} but only {end - position} bytes available"
            )
        found.append(raw[position : position + length])
        position += length
        if len(found) > elements:
            raise InvalidArgument(
                f"unexpected number of string elements {len(found)} or more for inference input '{name}' "
                f"for model '{model}', expecting {elements}"
            )
    if len(found) != elements:
        raise InvalidArgument(
            f"expected {elements} string elements for inference input '{name}' for model '{model}', got {len(found)}"
        )
    return _objects(found)


def _objects(elements: list[bytes]) -> Array:
    array = np.empty(len(elements), object)
    array[:] = elements
    return array


def _narrowed(values: Sequence[int], dtype: "np.dtype[Any]", name: str, datatype: str, model: str) -> Array:
    wide = np.array(values, np.int64)
    limits = np.iinfo(dtype)
    if wide.size and (wide.min() < limits.min or wide.max() > limits.max):
        raise InvalidArgument(
            f"a value of input '{name}' for model '{model}' does not fit {datatype}: {limits.min} to {limits.max}"
        )
    return wide.astype(dtype)
