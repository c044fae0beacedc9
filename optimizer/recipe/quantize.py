"""Post-training quantisation to 8-bit integers: dynamic (weights ahead, activations as they come) and static."""

from typing import ClassVar, Literal

from pydantic import Field

from optimizer.recipe.base import Dependency, Domain, PassConfig, Stage

# "auto" follows the CPU: u8s8 where 8-bit products accumulate in 32 bits (VNNI, AMX), u8u8 elsewhere,
# since u8s8 saturates at 16 bits on plain AVX2 and loses points.
Types = Literal["auto", "u8s8", "u8u8", "s8s8", "u8s8_reduced"]


class QuantizeDynamic(PassConfig):
    """MatMul and Gemm with int8 weights; convolutions stay in float, since ConvInteger is slower nearly everywhere."""

    accepts: ClassVar = Stage.ONNX
    produces: ClassVar = Stage.ONNX
    depends_on: ClassVar = frozenset({Dependency.TARGET})
    not_after: ClassVar = frozenset({"fp16", "quantize_aware", "quantize_dynamic", "quantize_static"})
    tools: ClassVar = ("onnx", "onnxruntime")
    domain: ClassVar[Domain] = {"per_channel": (True, False)}

    use: Literal["quantize_dynamic"] = "quantize_dynamic"
    types: Types = "auto"
    per_channel: bool = True


class QuantizeStatic(PassConfig):
    """QDQ int8 with ranges calibrated on the calibration split."""

    accepts: ClassVar = Stage.ONNX
    produces: ClassVar = Stage.ONNX
    depends_on: ClassVar = frozenset({Dependency.TARGET, Dependency.CALIBRATION})
    not_after: ClassVar = frozenset({"fp16", "quantize_aware", "quantize_dynamic", "quantize_static"})
    tools: ClassVar = ("onnx", "onnxruntime")
    domain: ClassVar[Domain] = {"calibration": ("minmax", "entropy", "percentile"), "per_channel": (True, False)}

    use: Literal["quantize_static"] = "quantize_static"
    types: Types = "auto"
    per_channel: bool = True
    calibration: Literal["minmax", "entropy", "percentile"] = "minmax"
    # Rows taken from the calibration split.
    rows: int = Field(default=256, ge=1)
