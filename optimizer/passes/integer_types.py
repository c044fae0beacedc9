"""Which 8-bit integers a processor multiplies well, and what the quantisers are told about it."""

from dataclasses import dataclass

import onnx
from onnxruntime.quantization import QuantType

from optimizer.artifact.manifest import Hardware
from optimizer.artifact.session import Target
from optimizer.recipe.quantize import Types


@dataclass(frozen=True)
class IntegerTypes:
    """Types of activations and weights. `reduce_range` leaves one bit of the weights unused against saturation."""

    name: Types
    activations: QuantType
    weights: QuantType
    reduce_range: bool = False


_BY_NAME: dict[Types, IntegerTypes] = {
    "u8s8": IntegerTypes("u8s8", QuantType.QUInt8, QuantType.QInt8),
    "u8u8": IntegerTypes("u8u8", QuantType.QUInt8, QuantType.QUInt8),
    "s8s8": IntegerTypes("s8s8", QuantType.QInt8, QuantType.QInt8),
    "u8s8_reduced": IntegerTypes("u8s8_reduced", QuantType.QUInt8, QuantType.QInt8, reduce_range=True),
}


def choose(types: Types, hardware: Hardware, target: Target) -> IntegerTypes:
    """What `types` means on this hardware.

    "auto": symmetric s8s8 for GPUs; u8s8 where its products accumulate in 32 bits (VNNI, AMX, and ARM, which has no
    such instruction to saturate); u8u8 on other x86 processors, where u8s8 saturates at 16 bits and loses points.
    """
    if types != "auto":
        return _BY_NAME[types]
    if target == "cuda":
        return _BY_NAME["s8s8"]
    saturates = any(flag in hardware.isa for flag in ("sse4_1", "avx", "avx2")) and not hardware.has_vnni
    return _BY_NAME["u8u8" if saturates else "u8s8"]


def candidates(types: Types, hardware: Hardware, target: Target) -> tuple[IntegerTypes, ...]:
    """What `types` may mean on this hardware, the likeliest first; more than one only for "auto".

    Where u8s8 saturates, u8u8 is exact and u8s8 with one bit unused is faster on some processors: both are measured.
    """
    chosen = choose(types, hardware, target)
    if types == "auto" and chosen.name == "u8u8":
        return chosen, _BY_NAME["u8s8_reduced"]
    return (chosen,)


def integer_weights(model: onnx.ModelProto) -> int:
    """How many matrices and kernels the graph holds in 8-bit integers; scales' zero points do not count."""
    return sum(
        tensor.data_type in (onnx.TensorProto.INT8, onnx.TensorProto.UINT8) and len(tensor.dims) >= 2
        for tensor in model.graph.initializer
    )
