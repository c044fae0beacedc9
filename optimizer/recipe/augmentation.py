"""Augmentation: training rows changed a little each time they are seen, differently for each kind of input."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

# What the words stand for. Nothing here changes what a picture or a sound means: a mirror image is asked for by name.
_PRESETS: dict[str, dict[str, float]] = {
    "none": {},
    "light": {"noise": 0.05, "crop": 0.1, "shift": 0.1, "gain_db": 3.0, "token_dropout": 0.05},
    "strong": {
        "noise": 0.1, "crop": 0.125, "cutout": 0.25, "shift": 0.2, "gain_db": 6.0, "masking": 0.15,
        "feature_dropout": 0.1, "token_dropout": 0.1, "mixup": 0.2,
    },
}  # fmt: skip


class Augmentation(BaseModel):
    """How strongly each kind of input is changed; fields of other kinds of input than the model's count for nothing.

    In a recipe also one word: "none", "light" or "strong".
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    # All numbers: standard deviation of added noise, as a share of the input's own.
    noise: float = Field(default=0.0, ge=0, le=2)
    # Pictures: mirrored left to right, every second one.
    flip: bool = False
    # Pictures: moved by up to this share of their size, the border filled by reflection (He et al., 2016).
    crop: float = Field(default=0.0, ge=0, lt=1)
    # Pictures: side of a square that is blanked, as a share of theirs (DeVries and Taylor, 2017).
    cutout: float = Field(default=0.0, ge=0, lt=1)
    # Sound: louder or softer by up to so many decibels.
    gain_db: float = Field(default=0.0, ge=0, le=40)
    # Sound: moved in time by up to this share of its length.
    shift: float = Field(default=0.0, ge=0, lt=1)
    # Sound: longest share of the time, and of a spectrogram's bands, that is blanked (SpecAugment, Park et al., 2019).
    masking: float = Field(default=0.0, ge=0, lt=1)
    # Tables: probability that a value is replaced by the column's mean.
    feature_dropout: float = Field(default=0.0, ge=0, lt=1)
    # Tokens: probability that one is replaced by `token`; padding and the first token stay.
    token_dropout: float = Field(default=0.0, ge=0, lt=1)
    # The token that replaces others (the tokenizer's mask or unknown token); None: another token of the same row.
    token: int | None = Field(default=None, ge=0)
    # Numbers: two rows and their targets mixed, lambda ~ Beta(mixup, mixup) (Zhang et al., ICLR 2018).
    mixup: float = Field(default=0.0, ge=0, le=10)

    @model_validator(mode="before")
    @classmethod
    def _word(cls, value: Any) -> Any:
        if isinstance(value, str):
            if value not in _PRESETS:
                raise ValueError(f"augmentation is one of {', '.join(_PRESETS)}, or fields of its own")
            return _PRESETS[value]
        return value
