"""What all pass configs share: stage in, stage out, what may come before, what the result depends on."""

from enum import StrEnum
from typing import ClassVar

from pydantic import BaseModel, ConfigDict


class Stage(StrEnum):
    """The form a model has between two passes."""

    TORCH = "torch"
    ONNX = "onnx"


class Dependency(StrEnum):
    """What, beyond the incoming model and the config, a pass's result depends on; part of its cache key."""

    TRAIN = "train"
    CALIBRATION = "calibration"
    SELECTION = "selection"
    SEED = "seed"
    # Instruction set or device that the result is made for.
    TARGET = "target"
    # The checkpoint as its owner trained it, as a teacher.
    SOURCE = "source"


# A searchable domain: the values worth trying for a field, cheapest first.
Domain = dict[str, tuple[float | int | str | bool, ...]]


class PassConfig(BaseModel):
    """Base of every config; the field `use` names the pass in YAML."""

    # A learning rate of infinity has no JSON form, and so no digest.
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    accepts: ClassVar[Stage]
    produces: ClassVar[Stage]
    # Stages that it can also begin with, as a recipe's first step.
    begins_with: ClassVar[frozenset[Stage]] = frozenset()
    # Raised whenever the same config would give another result; part of the cache key.
    version: ClassVar[int] = 1
    depends_on: ClassVar[frozenset[Dependency]] = frozenset()
    # Names of passes that must not have run before this one.
    not_after: ClassVar[frozenset[str]] = frozenset()
    # Distributions whose versions change the result.
    tools: ClassVar[tuple[str, ...]] = ()
    domain: ClassVar[Domain] = {}

    use: str
