"""What the weights in a file amount to: how many, how many of them are zero, and how small they can be packed."""

import itertools
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

# The quickest level: what is wanted is how much redundancy there is, not the last per cent.
_ZLIB_LEVEL = 1
# zlib looks back 32 KiB, so that blocks of twice that lose little by being packed apart. Of more bytes than these every
# second, third, ... block is packed: ten million floats would take over two seconds.
_BLOCK_BYTES = 65_536
_MOST_PACKED_BYTES = 4_194_304
_WEIGHT_TYPES = frozenset(
    {
        TensorProto.FLOAT,
        TensorProto.FLOAT16,
        TensorProto.BFLOAT16,
        TensorProto.DOUBLE,
        TensorProto.INT8,
        TensorProto.UINT8,
        TensorProto.INT4,
        TensorProto.UINT4,
        TensorProto.INT32,
    }
)


@dataclass(frozen=True)
class _Quantised:
    """Where an operator takes its integer weight, that weight's zero point, and what else is no weight."""

    weight: int
    zero_point: int
    others: tuple[int, ...] = ()
    # Axis that a zero point for each channel belongs to.
    axis: int = -1


_QUANTISED = {
    "DequantizeLinear": _Quantised(0, 2, (1,), axis=1),
    "QuantizeLinear": _Quantised(0, 2, (1,)),
    "QLinearConv": _Quantised(3, 5, (1, 2, 4, 6, 7), axis=0),
    "ConvInteger": _Quantised(1, 3, (2,), axis=0),
    "QLinearMatMul": _Quantised(3, 5, (1, 2, 4, 6, 7)),
    "MatMulInteger": _Quantised(1, 3, (2,)),
    "MatMulIntegerToFloat": _Quantised(1, 5, (2, 3, 4)),
    "DynamicQuantizeMatMul": _Quantised(1, 3, (2,)),
    "QGemm": _Quantised(3, 5, (1, 2, 4, 7, 8)),
    "QAttention": _Quantised(1, 7, (3, 4, 6)),
    "QLinearAdd": _Quantised(3, 5, (1, 2, 4, 6, 7)),
    "QLinearMul": _Quantised(3, 5, (1, 2, 4, 6, 7)),
}


@dataclass(frozen=True)
class Weights:
    """`zero_share` is of weights with two axes or more, biases not counted; None without any.

    `compressed_bytes` are what zlib leaves of all constants; of more than 4 MiB, as far as evenly spread blocks tell.
    """

    parameters: int
    zero_share: float | None
    compressed_bytes: int


def weights_of(model: onnx.ModelProto) -> Weights:
    """Counts the constants of a graph that are weights: no shapes, no single values, no scales or zero points."""
    zero_points, apart = _zero_points(model)
    constants = dict(_constants(model))
    parameters = wide = zeros = 0
    for name, tensor in constants.items():
        array = numpy_helper.to_array(tensor)
        if tensor.data_type not in _WEIGHT_TYPES or name in apart or array.size < 2:
            continue
        parameters += array.size
        if array.ndim > 1:
            wide += array.size
            zeros += _zeros(array, zero_points.get(name), constants)
    return Weights(parameters, zeros / wide if wide else None, _compressed_bytes(constants))


def _compressed_bytes(constants: dict[str, TensorProto]) -> int:
    arrays = [numpy_helper.to_array(tensor).tobytes() for tensor in constants.values()]
    whole = sum(map(len, arrays))
    every = max(1, -(-whole // _MOST_PACKED_BYTES))
    blocks = (array[start : start + _BLOCK_BYTES] for array in arrays for start in range(0, len(array), _BLOCK_BYTES))
    chosen = list(itertools.islice(blocks, 0, None, every))
    packed, taken = sum(len(zlib.compress(block, _ZLIB_LEVEL)) for block in chosen), sum(map(len, chosen))
    return round(packed * whole / taken) if taken else 0


def _constants(model: onnx.ModelProto) -> Iterator[tuple[str, TensorProto]]:
    for tensor in model.graph.initializer:
        yield tensor.name, tensor
    for node in model.graph.node:
        if node.op_type == "Constant":
            for attribute in node.attribute:
                if attribute.name == "value":
                    yield node.output[0], attribute.t


def _zero_points(model: onnx.ModelProto) -> tuple[dict[str, tuple[str, int]], set[str]]:
    """Each integer weight's zero point and its axis; and the names of scales and zero points."""
    found: dict[str, tuple[str, int]] = {}
    apart: set[str] = set()
    for node in model.graph.node:
        places = _QUANTISED.get(node.op_type)
        if places is None:
            continue
        names = dict(enumerate(node.input))
        apart |= {names.get(place, "") for place in (places.zero_point, *places.others)}
        axis = next((int(attribute.i) for attribute in node.attribute if attribute.name == "axis"), places.axis)
        if names.get(places.weight) and names.get(places.zero_point):
            found[names[places.weight]] = (names[places.zero_point], axis)
    return found, apart


def _zeros(array: NDArray[Any], zero_point: tuple[str, int] | None, constants: dict[str, TensorProto]) -> int:
    """How many elements stand for zero."""
    zero: Any = 0
    if zero_point is not None and zero_point[0] in constants:
        points = numpy_helper.to_array(constants[zero_point[0]])
        axis = zero_point[1] % array.ndim
        if points.size == 1:
            zero = points.reshape(())
        elif points.size == array.shape[axis]:
            zero = points.reshape([-1 if place == axis else 1 for place in range(array.ndim)])
    return int(np.count_nonzero(array == zero))
