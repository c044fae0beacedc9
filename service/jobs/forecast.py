"""What a job would try, about how long it would take, and what its rows can tell: asked before anything is started."""

from collections.abc import Sequence
from dataclasses import dataclass

from optimizer.artifact.inspected import Inspection
from optimizer.artifact.task import METRIC, Task
from optimizer.recipe.estimate import Scale, seconds_of
from optimizer.recipe.resolution import resolvable_difference, rows_that_decide
from service.jobs.planning import Planned

# Metrics that are a share of right rows, for which the rows can be counted beforehand.
_SHARES = frozenset({"accuracy", "agreement"})
# Shares of the rows of one file (docs/data.md); of two, the whole eval file judges.
_TRAIN_SHARE, _EVALUATION_SHARE, _MOST_EVALUATION_ROWS = 0.55, 0.30, 20_000
_TRAIN_SHARE_OF_TWO = 55 / 70
# Of the rows on which a variant that is as good as the source is right where the source is not, or the other way round.
DISCORDANCE = 0.03


@dataclass(frozen=True)
class Expected:
    """One trial that would be run."""

    recipe: str
    steps: tuple[str, ...]
    why: str
    seconds: float


@dataclass(frozen=True)
class Forecast:
    """A job that was not started."""

    trials: tuple[Expected, ...]
    metric: str
    # About; duplicates are not known before the data is read.
    evaluation_rows: int
    margin: float
    # Smallest margin at which these rows can show an equally good variant not inferior, and the rows that the margin
    # asks for, if a variant and the source disagree on DISCORDANCE of the rows. None for metrics that are no shares.
    resolvable: float | None
    rows_needed: int | None
    # Whether more is tried when these have ended, by what came of them.
    goes_on: bool


def forecast(
    planned: Sequence[Planned],
    inspection: Inspection,
    task: Task,
    rows: dict[str, int],
    margin: float,
    cores: int,
    goes_on: bool,
) -> Forecast:
    """The forecast of a plan. `rows` are those of the data set's files, by split."""
    if "all" in rows:
        training = int(_TRAIN_SHARE * rows["all"])
        evaluation = min(int(_EVALUATION_SHARE * rows["all"]), _MOST_EVALUATION_ROWS)
    else:
        training, evaluation = int(_TRAIN_SHARE_OF_TWO * rows["train"]), rows["eval"]
    scale = Scale(inspection, training, cores)
    counted = METRIC[task] in _SHARES
    done: set[tuple[str, ...]] = set()
    trials = []
    for trial in planned:
        trials.append(
            Expected(
                trial.recipe.name,
                tuple(step.use for step in trial.recipe.steps),
                trial.why,
                _seconds(trial, scale, done),
            )
        )
    return Forecast(
        trials=tuple(trials),
        metric=METRIC[task],
        evaluation_rows=evaluation,
        margin=margin,
        resolvable=resolvable_difference(max(1, evaluation), DISCORDANCE) if counted else None,
        rows_needed=rows_that_decide(DISCORDANCE / 2, DISCORDANCE / 2, margin) if counted and margin > 0 else None,
        goes_on=goes_on,
    )


def _seconds(trial: Planned, scale: Scale, done: set[tuple[str, ...]]) -> float:
    """A trial's time without the steps that one before it leaves in the cache; a study's, for all of its points."""
    steps = trial.recipe.steps
    digests = [trial.recipe.model_copy(update={"steps": steps[:count]}).digest for count in range(1, len(steps) + 1)]
    cached = max((count for count, digest in enumerate(digests, 1) if (digest,) in done), default=0)
    done.update((digest,) for digest in digests)
    whole = seconds_of(trial.recipe, scale)
    if trial.search is not None:
        return whole * float(trial.search["trials"])
    saved = seconds_of(trial.recipe.model_copy(update={"steps": steps[:cached]}), scale) if cached else 0.0
    measuring = seconds_of(trial.recipe.model_copy(update={"steps": ()}), scale)
    return max(measuring, whole - saved + measuring)
