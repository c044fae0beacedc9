"""Export: the torch module becomes a clean ONNX file, proved equal."""

from typing import ClassVar, Literal

from pydantic import Field

from optimizer.recipe.base import PassConfig, Stage


class Export(PassConfig):
    """torch.onnx.export (dynamo) with a named dynamic batch; parity is proved at two foreign batch sizes."""

    accepts: ClassVar = Stage.TORCH
    produces: ClassVar = Stage.ONNX
    tools: ClassVar = ("torch", "transformers", "onnx", "onnxscript")

    use: Literal["export"] = "export"
    opset: int = Field(default=20, ge=18, le=23)
