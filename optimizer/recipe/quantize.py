"""Post-training quantisation to 8-bit integers: dynamic (weights ahead, activations as they come) and static."""

from typing import ClassVar, Literal

from pydantic import Field

from optimizer.recipe.base import Dependency, Domain, PassConfig, Stage

# "auto" follows the CPU: u8s8 where 8-bit products accumulate in 32 bits (VNNI, AMX), u8u8 elsewhere,
# since u8s8 saturates at 16 bits on plain AVX2 and loses points.
Types = Literal["auto", "u8s8", "u8u8", "s8s8", "u8s8_reduced"]


class _Partial(PassConfig):
    """What both share: how much accuracy and time the integers may cost before a node is kept in float."""

    accepts: ClassVar = Stage.ONNX
    produces: ClassVar = Stage.ONNX
    version: ClassVar = 3
    not_after: ClassVar = frozenset(
        {"fp16", "bf16", "quantize_aware", "quantize_dynamic", "quantize_static", "quantize_weights"}
    )
    tools: ClassVar = ("onnx", "onnxruntime")

    types: Types = "auto"
    per_channel: bool = True
    # Keep the nodes in float that cost most accuracy, until the budget holds. False: quantise all, whatever it costs.
    partial: bool = True
    # What the metric may lose on the selection rows (a share of the source's value where less is better). One row is
    # always forgiven: fewer rows than 1 / budget cannot tell.
    accuracy_budget: float = Field(default=0.005, ge=0, le=1)
    # The error of every node alone is measured when the budget does not hold at once, or always.
    sensitivity: Literal["needed", "always"] = "needed"
    # Keep nodes in float whose kind makes the graph slower in integers, measured on this host.
    skip_slow: bool = True
    # Tables that rows are looked up in (words, users, films) become int8 too, with a scale a row.
    embeddings: bool = True
    # Names of nodes that stay in float in any case.
    float_nodes: tuple[str, ...] = ()


class QuantizeDynamic(_Partial):
    """Matrix products with int8 weights; convolutions stay in float, since ConvInteger is slower nearly everywhere."""

    depends_on: ClassVar = frozenset({Dependency.TARGET, Dependency.CALIBRATION, Dependency.SELECTION})
    domain: ClassVar[Domain] = {"per_channel": (True, False), "accuracy_budget": (0.005, 0.0, 0.02)}

    use: Literal["quantize_dynamic"] = "quantize_dynamic"


class QuantizeStatic(_Partial):
    """QDQ int8 with ranges calibrated on the calibration split."""

    depends_on: ClassVar = frozenset({Dependency.TARGET, Dependency.CALIBRATION, Dependency.SELECTION})
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
