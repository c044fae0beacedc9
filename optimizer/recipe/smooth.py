"""Smoothing: channels with outliers are made smaller, and the weights behind them larger, before both are rounded."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from optimizer.recipe.base import Dependency, Domain, PassConfig, Stage


class Smooth(PassConfig):
    """SmoothQuant (Xiao et al., 2023) between normalisations and the products behind them; answers stay the same.

    Put it before `quantize_static`. It gives back accuracy where few channels of a transformer are much larger than the
    others, which one range for all of them does not hold.
    """

    accepts: ClassVar = Stage.ONNX
    produces: ClassVar = Stage.ONNX
    depends_on: ClassVar = frozenset({Dependency.CALIBRATION})
    not_after: ClassVar = frozenset(
        {"fp16", "bf16", "quantize_aware", "quantize_dynamic", "quantize_static", "quantize_weights", "smooth"}
    )
    tools: ClassVar = ("onnx", "onnxruntime")
    domain: ClassVar[Domain] = {"alpha": ("auto", 0.5, 0.75)}

    use: Literal["smooth"] = "smooth"
    # How much of a channel's range moves into the weights: 0 none, 1 all. "auto": for each normalisation what makes the
    # smallest error on calibration rows; where nothing helps, it stays as it is.
    alpha: Literal["auto"] | Annotated[float, Field(ge=0, le=1)] = "auto"
    # Rows taken from the calibration split.
    rows: int = Field(default=64, ge=1)
    # With "auto", leave a normalisation alone whose products would not lose this share of their error.
    least_gain: float = Field(default=0.1, ge=0, lt=1)
