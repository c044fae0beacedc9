"""Half precision: weights and activations in 16-bit floating point, for GPUs."""

from typing import ClassVar, Literal

from optimizer.recipe.base import Dependency, PassConfig, Stage


class Fp16(PassConfig):
    """Converts to fp16 and keeps nodes in fp32 whose calibrated activations come near fp16's range."""

    accepts: ClassVar = Stage.ONNX
    produces: ClassVar = Stage.ONNX
    depends_on: ClassVar = frozenset({Dependency.CALIBRATION})
    not_after: ClassVar = frozenset(
        {"fp16", "bf16", "quantize_aware", "quantize_dynamic", "quantize_static", "quantize_weights"}
    )
    tools: ClassVar = ("onnx", "onnxconverter-common", "onnxruntime")

    use: Literal["fp16"] = "fp16"
