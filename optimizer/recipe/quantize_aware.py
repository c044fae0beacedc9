"""Quantisation-aware training: the network learns with its weights and activations rounded, then becomes int8 ONNX."""

from typing import ClassVar, Literal

from pydantic import Field

from optimizer.recipe.base import Dependency, Domain, PassConfig, Stage


class QuantizeAware(PassConfig):
    """Trains through rounding (Jacob et al., CVPR 2018) and writes a QDQ graph; it takes the place of `export`.

    The loss is that of `distill`: by default the network keeps close to the answers that it gave before rounding.
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
    temperature: float = Field(default=2.0, gt=0)
    alpha: float = Field(default=0.1, ge=0, le=1)
    epochs: float = Field(default=4.0, gt=0, le=1000)
    # None: chosen for the kind of model, as by `distill`.
    learning_rate: float | None = Field(default=None, gt=0)
    batch_size: int = Field(default=32, ge=1)
    weight_decay: float = Field(default=0.0, ge=0)
    warmup_share: float = Field(default=0.1, ge=0, lt=1)
    # After this share of the updates the ranges of activations no longer move.
    freeze_share: float = Field(default=0.7, ge=0, le=1)
    opset: int = Field(default=20, ge=19, le=23)
