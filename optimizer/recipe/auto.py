"""What an automatic job tries next: a pure function of what came of its trials so far.

The default recipes come first, cheapest promising one first. Then their results decide: what kept within the margin is
pruned further, what lost too much is trained longer or pruned less, what lost by rounding alone learns with rounding.
Each proposal says why in a sentence.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from optimizer.artifact.manifest import Verdict
from optimizer.recipe.base import Stage
from optimizer.recipe.distill import Distill
from optimizer.recipe.export import Export
from optimizer.recipe.objective import Objective
from optimizer.recipe.prune import PruneStructured
from optimizer.recipe.quantize import QuantizeDynamic, QuantizeStatic
from optimizer.recipe.quantize_aware import QuantizeAware
from optimizer.recipe.recipe import AnyPass, Recipe

# Narrower than this nothing is left to prune.
_LARGEST_RATIO = 0.95
# Two ratios that are closer give the same network, or nearly.
_SMALLEST_GAP = 0.1
_MOST_EPOCHS = 16.0
# So many recipes beyond the default ones.
_MOST_PROPOSALS = 6
# A variant that is hardly faster gains nothing from being made better.
_WORTHWHILE_SPEEDUP = 1.2


@dataclass(frozen=True)
class Result:
    """What came of one trial."""

    recipe: Recipe
    # None: no variant came of it.
    verdict: Verdict | None
    # How much worse than the source, as the margin counts (0.01 = one point); None where nothing was measured.
    loss: float | None = None
    # How many times as fast as the source at batch 1.
    speedup: float | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Proposal:
    """A recipe to try next, why, and about how long it takes."""

    recipe: Recipe
    why: str
    seconds: float


@dataclass(frozen=True)
class Stop:
    """Nothing more is worth trying, or there is no time for it."""

    why: str


def why_default(recipe: Recipe) -> str:
    """Why a default recipe is tried."""
    kinds = {type(step) for step in recipe.steps}
    trained = PruneStructured in kinds
    rounded = bool(kinds & {QuantizeStatic, QuantizeDynamic})
    if trained and rounded:
        return "the narrow network in 8 bits: its training comes from the cache, so only the rounding is new"
    if trained:
        return "fewer multiplications: channels, heads and columns are cut, and the source teaches what is left"
    if rounded:
        return "8-bit integers cost seconds to try and no training"
    if recipe.name == "fp16":
        return "half precision, for a GPU"
    return "seconds to try: nothing but the graph is rewritten"


def next_step(results: Sequence[Result], objective: Objective, seconds_left: float | None) -> Proposal | Stop:
    """The next recipe of an automatic job whose trials have all ended, or why it stops.

    `seconds_left` is what the budget leaves, None without one. Never proposes a recipe that was tried.
    """
    made = [result for result in results if result.verdict is not Verdict.SOURCE]
    known = {result.recipe.digest for result in results}
    if sum(_is_ours(result.recipe) for result in made) >= _MOST_PROPOSALS:
        return Stop(f"stopped after {_MOST_PROPOSALS} recipes beyond the default ones")
    candidates = [candidate for candidate in _candidates(made, objective) if candidate.recipe.digest not in known]
    if not candidates:
        return Stop("stopped: nothing promising is left to try")
    best = candidates[0]
    if seconds_left is not None and best.seconds > seconds_left:
        return Stop(
            f"stopped: {max(0.0, seconds_left):.0f} s are left, and recipe {best.recipe.name} takes about "
            f"{best.seconds:.0f} s"
        )
    return best


def _is_ours(recipe: Recipe) -> bool:
    return recipe.name.startswith(_OURS)


_OURS = ("narrower-", "longer-", "wider-", "aware-")


def _candidates(made: Sequence[Result], objective: Objective) -> list[Proposal]:
    """Proposals, the most promising first."""
    pruned = [(result, ratio) for result in made if (ratio := _ratio(result.recipe)) is not None]
    good = [(result, ratio) for result, ratio in pruned if result.verdict is Verdict.ACCEPT]
    bad = [(result, ratio) for result, ratio in pruned if _lost(result, objective)]
    # With a limit to keep and accuracy to prefer, what keeps the limit is not made worse for more speed.
    satisfied = objective.prefer == "accuracy" and any(result.verdict is Verdict.ACCEPT for result in made)
    found: list[Proposal] = []
    if good and not satisfied:
        most = max(good, key=lambda pair: (pair[1], _speed(pair[0])))
        found += _narrower(*most, [ratio for _, ratio in bad], objective)
    if bad:
        found += _longer(*min(bad, key=lambda pair: (pair[1], -_speed(pair[0]))))
        found += _between(*min(bad, key=lambda pair: pair[1]), [ratio for _, ratio in good])
    found += _aware(made, objective)
    return found


def _narrower(result: Result, ratio: float, lost: Sequence[float], objective: Objective) -> list[Proposal]:
    further = round(1 - (1 - ratio) / 2, 4)
    if further > _LARGEST_RATIO or any(further >= other - _SMALLEST_GAP / 2 for other in lost):
        return []
    spare = objective.max_accuracy_drop - (result.loss or 0.0)
    why = (
        f"{result.recipe.name} kept within the margin with {100 * spare:.2f} points to spare, so half its width may do "
        "too, with longer training"
    )
    steps = _changed(result.recipe, ratio=further, epochs=2.0)
    return [_proposal(f"narrower-{round(100 * further)}", steps, why, 2 * result.seconds)]


def _longer(result: Result, ratio: float) -> list[Proposal]:
    if _epochs(result.recipe) * 2 > _MOST_EPOCHS:
        return []
    why = f"{result.recipe.name} lost {100 * (result.loss or 0.0):.2f} points; twice the training may bring them back"
    steps = _changed(result.recipe, ratio=ratio, epochs=2.0)
    name = f"longer-{round(100 * ratio)}-{round(_epochs(result.recipe) * 2)}"
    return [_proposal(name, steps, why, 2 * result.seconds)]


def _between(result: Result, ratio: float, kept: Sequence[float]) -> list[Proposal]:
    lower = max((other for other in kept if other < ratio), default=0.0)
    if ratio - lower <= _SMALLEST_GAP:
        return []
    middle = round((ratio + lower) / 2, 4)
    why = f"{result.recipe.name} at ratio {ratio:g} lost too much" + (
        f" and ratio {lower:g} did not; the truth lies between" if lower else "; cutting less may not"
    )
    steps = _changed(result.recipe, ratio=middle, epochs=1.0)
    return [_proposal(f"wider-{round(100 * middle)}", steps, why, result.seconds)]


def _aware(made: Sequence[Result], objective: Objective) -> list[Proposal]:
    """Training with rounding, where rounding alone lost what made the variant fast."""
    for result in made:
        steps = result.recipe.steps
        # A graph that was pushed as such cannot be trained.
        rounded = any(isinstance(step, QuantizeStatic) for step in steps) and any(isinstance(s, Export) for s in steps)
        if rounded and _lost(result, objective) and _speed(result) >= _WORTHWHILE_SPEEDUP:
            before = tuple(step for step in steps if step.produces is Stage.TORCH)
            why = (
                f"{result.recipe.name} is {_speed(result):.1f} times as fast and lost "
                f"{100 * (result.loss or 0.0):.2f} points by rounding; training with rounding may bring them back"
            )
            seconds = max(60.0, 4 * result.seconds)
            return [_proposal(f"aware-{result.recipe.name}"[:40], (*before, QuantizeAware()), why, seconds)]
    return []


def _lost(result: Result, objective: Objective) -> bool:
    """Whether a variant was refused for its quality."""
    return (
        result.verdict in (Verdict.REJECT, Verdict.INCONCLUSIVE)
        and result.loss is not None
        and result.loss > objective.max_accuracy_drop / 2
    )


def _ratio(recipe: Recipe) -> float | None:
    return next((step.ratio for step in recipe.steps if isinstance(step, PruneStructured)), None)


def _epochs(recipe: Recipe) -> float:
    return next((step.epochs for step in recipe.steps if isinstance(step, Distill)), _MOST_EPOCHS)


def _speed(result: Result) -> float:
    return result.speedup or 0.0


def _changed(recipe: Recipe, *, ratio: float, epochs: float) -> tuple[AnyPass, ...]:
    """The steps with another ratio, and so many times the training."""
    return tuple(
        step.model_copy(update={"ratio": ratio})
        if isinstance(step, PruneStructured)
        else step.model_copy(update={"epochs": min(_MOST_EPOCHS, step.epochs * epochs)})
        if isinstance(step, Distill)
        else step
        for step in recipe.steps
    )


def _proposal(name: str, steps: tuple[AnyPass, ...], why: str, seconds: float) -> Proposal:
    return Proposal(Recipe(name=name, steps=steps), why, seconds)
