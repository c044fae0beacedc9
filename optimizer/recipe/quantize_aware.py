"""Quantisation-aware training: the network learns with its weights and activations rounded, then becomes int8 ONNX."""

from typing import ClassVar, Literal

from pydantic import Field

from optimizer.recipe.base import Dependency, Domain, PassConfig, Stage
from optimizer.recipe.taught import Taught


class QuantizeAware(Taught, PassConfig):
    """Trains through rounding (Jacob et al., CVPR 2018) and writes a QDQ graph; it takes the place of `export`.

    The loss is that of `distill`: by default the network mostly learns from the checkpoint's own answers.
    """

    accepts: ClassVar = Stage.TORCH
    produces: ClassVar = Stage.ONNX
    depends_on: ClassVar = frozenset(
        {
            Dependency.TRAIN, Dependency.CALIBRATION, Dependency.SELECTION, Dependency.SEED, Dependency.TARGET,
            Dependency.SOURCE,
        }
    )  # fmt: skip
    tools: ClassVar = ("torch", "torchao", "transformers", "onnx", "onnxscript", "onnxruntime")
    domain: ClassVar[Domain] = {"epochs": (2.0, 4.0, 8.0), "learning_rate": (1e-4, 1e-3)}

    use: Literal["quantize_aware"] = "quantize_aware"
    # "auto": s8s8 for GPUs, u8s8 where its products accumulate in 32 bits, elsewhere u8s8 with one bit unused.
    types: Literal["auto", "u8s8", "u8s8_reduced", "s8s8"] = "auto"
    # Decay pulls weights towards where rounding takes them to zero.
    weight_decay: float = Field(default=0.0, ge=0)
    # After this share of the updates the ranges of activations no longer move.
    freeze_share: float = Field(default=0.7, ge=0, le=1)
    opset: int = Field(default=20, ge=19, le=23)
