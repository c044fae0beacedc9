"""About how long a recipe takes, before anything has run: a rough model, good enough to choose a budget by."""

from dataclasses import dataclass

from optimizer.artifact.inspected import Inspection
from optimizer.recipe.base import PassConfig
from optimizer.recipe.prune import PruneStructured
from optimizer.recipe.recipe import Recipe
from optimizer.recipe.student import Student
from optimizer.recipe.training import Training

# What a core does in a second of training, in floating-point operations; small networks reach less, large ones more.
_OPERATIONS_A_CORE = 2.5e10
# Operations of an update for a weight that is used once: two forward, four backward.
_UPDATE, _ANSWER = 6.0, 2.0
# How often a weight is used for one row: at every token of a text, at many places of a picture.
_USES = {"image": 10.0, "text": 64.0, "audio": 50.0, "tensor": 4.0}
# Opening a checkpoint with torch, and measuring a variant.
_OPEN_SECONDS, _MEASURE_SECONDS = 3.0, 5.0
_PASS_SECONDS = {
    "export": 4.0,
    "quantize_static": 4.0,
    "quantize_dynamic": 2.0,
    "quantize_weights": 4.0,
    "quantize_aware": 20.0,
}


@dataclass(frozen=True)
class Scale:
    """What the time depends on."""

    inspection: Inspection
    training_rows: int
    cores: int


def seconds_of(recipe: Recipe, scale: Scale) -> float:
    """About how long a trial of the recipe takes when none of its steps is cached."""
    weights = scale.inspection.weights_bytes / 4
    uses = _USES[scale.inspection.kind]
    speed = _OPERATIONS_A_CORE * max(1, scale.cores)
    seconds = _MEASURE_SECONDS + (_OPEN_SECONDS if recipe.steps else 0.0)
    share = 1.0
    for step in recipe.steps:
        share *= _share_left(step)
        seconds += _PASS_SECONDS.get(step.use, 1.0)
        if isinstance(step, Training):
            seconds += step.epochs * scale.training_rows * weights * share * uses * _UPDATE / speed
        if step.use in ("distill", "quantize_aware"):
            # The teacher answers every row once.
            seconds += scale.training_rows * weights * uses * _ANSWER / speed
    return seconds


def _share_left(step: PassConfig) -> float:
    """Share of the weights that a pass leaves."""
    if isinstance(step, PruneStructured):
        return (1 - step.ratio) ** 2
    return 0.5 if isinstance(step, Student) else 1.0
