"""Post-training quantisation to 8-bit integers: dynamic (weights ahead, activations as they come) and static."""

from typing import ClassVar, Literal

from pydantic import Field

from optimizer.recipe.base import Domain
from optimizer.recipe.partial import Partial

# "auto" follows the CPU: u8s8 where 8-bit products accumulate in 32 bits (VNNI, AMX), u8u8 elsewhere,
# since u8s8 saturates at 16 bits on plain AVX2 and loses points.
Types = Literal["auto", "u8s8", "u8u8", "s8s8", "u8s8_reduced"]


class _Integers(Partial):
    """What both share: which integers, and with how many scales."""

    tools: ClassVar = ("onnx", "onnxruntime")

    types: Types = "auto"
    per_channel: bool = True


class QuantizeDynamic(_Integers):
    """Matrix products with int8 weights; convolutions stay in float, since ConvInteger is slower nearly everywhere."""

    domain: ClassVar[Domain] = {"per_channel": (True, False), "accuracy_budget": (0.005, 0.0, 0.02)}

    use: Literal["quantize_dynamic"] = "quantize_dynamic"


class QuantizeStatic(_Integers):
    """QDQ int8 with ranges calibrated on the calibration split."""

    domain: ClassVar[Domain] = {
        "calibration": ("minmax", "entropy", "percentile"),
        "per_channel": (True, False),
        "accuracy_budget": (0.005, 0.0, 0.02),
    }

    use: Literal["quantize_static"] = "quantize_static"
    calibration: Literal["minmax", "entropy", "percentile"] = "minmax"
    # Rows taken from the calibration split.
    rows: int = Field(default=256, ge=1)
    # Most memory for activations while calibrating; rows are taken in chunks, and tensors in groups, that fit.
    memory_mib: int = Field(default=256, ge=1)
