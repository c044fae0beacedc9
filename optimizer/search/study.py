"""Runs a study with Optuna: points are recipes, figures are those of the selection rows, the front becomes variants.

The storage is a SQLite file that outlives the process: a study that was killed goes on after its last finished point,
and `optuna-dashboard sqlite:///study.db` opens it.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial, TrialState

from optimizer.artifact.manifest import Table
from optimizer.pipeline.fold import StepFailed
from optimizer.recipe.recipe import Recipe
from optimizer.recipe.study import Space, Study, Value, number
from optimizer.recipe.trial import STUDY_FILE
from optimizer.search.figures import Figures, front, narrowed, probes, spread
from optimizer.search.scorer import Hopeless
from optimizer.search.space import key_of, points_of, sampler_of, suggest

# Share of the trials that probing single values may take.
_PROBES_SHARE = 0.5
# A sampler that proposes what is known again and again has nothing more to say.
_PROPOSALS_A_TRIAL = 5
_FIGURES, _REASON = "figures", "reason"

# (recipe, trial number, how many trials at most) -> its figures. Raises Hopeless, StepFailed.
Score = Callable[[Recipe, int, int], Figures]


@dataclass(frozen=True)
class Result:
    """What a study found: the recipes of the front with what is said of each, and every point as a table."""

    finalists: tuple[tuple[Recipe, str], ...]
    table: Table


@dataclass(frozen=True)
class _Run:
    """A study on its way."""

    study: Study
    score: Score
    # Accuracy that a point must reach to count.
    floor: float
    storage: str
    seed: int
    clock: Callable[[], float]
    ends: float

    def search(
        self, name: str, space: Space, trials: int, known: list[FrozenTrial], first: list[dict[str, Value]]
    ) -> optuna.Study:
        """Searches `space` until so many trials are done, the time is up, or every point was tried."""
        goals = self.study.search.goals
        found = optuna.create_study(
            storage=self.storage,
            study_name=name,
            directions=["maximize" if goal == "accuracy" else "minimize" for goal in goals],
            load_if_exists=True,
        )
        if not found.trials:
            found.add_trials(known)
            for point in first:
                found.enqueue_trial(dict(point))
        for lost in found.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            # Its process was killed; its finished passes are kept.
            found.tell(lost.number, state=TrialState.FAIL)
            found.enqueue_trial(lost.params)
        found.sampler = sampler_of(self.study.search.sampler, space, self.seed + len(found.trials))

        def objective(trial: optuna.Trial) -> tuple[float, ...]:
            return self._point(trial, found, space, trials)

        while self._goes_on(found, space, trials):
            found.optimize(objective, n_trials=1, catch=(StepFailed,))
        return found

    def _goes_on(self, found: optuna.Study, space: Space, trials: int) -> bool:
        asked = [trial for trial in found.get_trials(deepcopy=False) if trial.state.is_finished()]
        # What a killed process lost has no reason; points that were met again cost nothing.
        tried = {
            key_of(trial.params) for trial in asked if trial.state is not TrialState.FAIL or _REASON in trial.user_attrs
        }
        return (
            len(tried) < min(trials, points_of(space))
            and len(asked) < _PROPOSALS_A_TRIAL * trials
            and self.clock() < self.ends
        )

    def _point(self, trial: optuna.Trial, found: optuna.Study, space: Space, trials: int) -> tuple[float, ...]:
        values = suggest(trial, space)
        known = figures_of(found, values)
        if known is None:
            try:
                known = self.score(self.study.recipe(values), trial.number, trials)
            except Hopeless as hopeless:
                trial.set_user_attr(_REASON, str(hopeless))
                raise optuna.TrialPruned from hopeless
            except StepFailed as failed:
                trial.set_user_attr(_REASON, str(failed))
                raise
        trial.set_user_attr(_FIGURES, [known.accuracy, known.latency, known.size])
        trial.set_constraint("accuracy", self.floor - known.accuracy)
        return tuple(known.of(goal) for goal in self.study.search.goals)


def run(
    study: Study,
    score: Score,
    floor: float,
    directory: Path,
    seed: int = 0,
    clock: Callable[[], float] = time.monotonic,
) -> Result:
    """Runs the study, or what is left of it; `directory` holds its storage and outlives the process.

    A budget of time begins anew with each process. `floor` is the least accuracy (more is better) of a finalist.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    search = study.search
    ends = clock() + search.budget_seconds if search.budget_seconds else float("inf")
    running = _Run(study, score, floor, f"sqlite:///{directory / STUDY_FILE}", seed, clock, ends)
    space, trials = study.space, search.trials
    base = _base(study, space)
    points = probes(space, base)
    known: list[FrozenTrial] = []
    if search.narrow and search.sampler != "grid" and 1 < len(points) <= _PROBES_SHARE * trials:
        probed = running.search(f"{study.name}: each value by itself", space, len(points), [], points)
        known = probed.get_trials(deepcopy=False)
        space = narrowed(space, base, [(trial.params, _figures(trial)) for trial in known], search.goals)
        known = [trial for trial in known if _lies_in(trial, space)]
        trials -= len(points) - len(known)
    first = [] if known or search.sampler == "grid" else [base]
    found = running.search(study.name, space, trials, [_moved(trial, space) for trial in known], first)
    return _result(study, found.get_trials(deepcopy=False), floor)


def figures_of(found: optuna.Study, values: dict[str, Value]) -> Figures | None:
    """The figures of these values where an earlier trial has them."""
    for trial in found.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        if key_of(trial.params) == key_of(values):
            return _figures(trial)
    return None


def _figures(trial: FrozenTrial) -> Figures | None:
    values = trial.user_attrs.get(_FIGURES)
    return None if values is None else Figures(*values)


def _base(study: Study, space: Space) -> dict[str, Value]:
    """The template's own values, or the first of the domain where the template's is not in it."""
    values: dict[str, Value] = {}
    for name, domain in space.items():
        position, _, field = name.partition(".")
        value = getattr(study.steps[int(position) - 1], field)
        if isinstance(domain, tuple):
            values[name] = value if value in domain else domain[0]
        else:
            inside = isinstance(value, int | float) and domain.low <= value <= domain.high
            values[name] = value if inside else number(domain, domain.low)
    return values


def _lies_in(trial: FrozenTrial, space: Space) -> bool:
    return trial.state is TrialState.COMPLETE and all(
        not isinstance(domain, tuple) or trial.params.get(name) in domain for name, domain in space.items()
    )


def _moved(trial: FrozenTrial, space: Space) -> FrozenTrial:
    """A finished trial as one of the narrowed space."""
    distributions = {
        name: optuna.distributions.CategoricalDistribution(domain)
        if isinstance(domain, tuple)
        else trial.distributions[name]
        for name, domain in space.items()
    }
    return optuna.trial.create_trial(
        state=trial.state,
        values=trial.values,
        params=trial.params,
        distributions=distributions,
        user_attrs=trial.user_attrs,
        system_attrs=trial.system_attrs,
    )


def _result(study: Study, trials: list[FrozenTrial], floor: float) -> Result:
    goals = study.search.goals
    figures = {trial.number: found for trial in trials if (found := _figures(trial)) is not None}
    distinct = {key_of(trial.params): trial.number for trial in reversed(trials) if trial.number in figures}
    # A point that a sampler proposed again is told once.
    first_met = set(distinct.values())
    good = {number: figures[number] for number in sorted(distinct.values()) if figures[number].accuracy >= floor}
    chosen = spread(front(good, goals), study.search.finalists)
    by_number = {trial.number: trial for trial in trials}
    finalists = tuple(
        (study.recipe(by_number[number].params, f"{study.name}-{place}"), _why(by_number[number], figures[number]))
        for place, number in enumerate(chosen, 1)
    )
    names = list(study.space)
    rows = tuple(
        (
            trial.number,
            *(trial.params.get(name) for name in names),
            *((None, None, None) if (found := figures.get(trial.number)) is None else _row(found)),
            _state(trial, trial.number in chosen),
        )
        for trial in trials
        if trial.state.is_finished() and (trial.number not in figures or trial.number in first_met)
    )
    columns = ("trial", *names, "accuracy on selection rows", "time against the source", "size against the source")
    return Result(finalists, Table(kind="search", title=f"study {study.name}", columns=(*columns, "state"), rows=rows))


def _row(found: Figures) -> tuple[float, float, float]:
    return round(found.accuracy, 6), round(found.latency, 4), round(found.size, 4)


def _state(trial: FrozenTrial, finalist: bool) -> str:
    if finalist:
        return "finalist"
    return str(trial.user_attrs.get(_REASON, trial.state.name.lower()))[:200]


def _why(trial: FrozenTrial, found: Figures) -> str:
    values = ", ".join(f"{name} {value}" for name, value in trial.params.items())
    return (
        f"on the front of the search (trial {trial.number}: {values}): {found.accuracy:.4f} on the selection rows, "
        f"{found.latency:.2f} of the source's time, {found.size:.2f} of its size"
    )
