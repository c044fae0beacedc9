"""Runs a trial that is a study: searches, and proposes the front's recipes to be tried like any other.

Steps of the points lie where they outlive the process, so a study that was killed repeats none. Those of the finalists
are handed in, so that trying them costs their measurement and no more.
"""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

from pydantic import ValidationError

from optimizer.artifact.hardware import fingerprint
from optimizer.errors import InvalidRecipe
from optimizer.pipeline.fold import Bench, Emit
from optimizer.pipeline.inputs import read_inputs
from optimizer.pipeline.steps import StepStore
from optimizer.recipe.keys import step_keys
from optimizer.recipe.recipe import Recipe, check_order
from optimizer.recipe.study import Search, Study
from optimizer.recipe.trial import STUDY_FILE, Finalist, Progress, StepFinished, Studied, TrialSpec
from optimizer.search.figures import Figures, allowed_loss
from optimizer.search.scorer import Scorer
from optimizer.search.study import run as search

STEP = "search"
_EVERY_SECONDS = 0.25
# A point is given up after its export only when it is this many times as far off as is allowed: what follows may still
# help it, and few rows are not exact.
_HOPELESS = 5.0


def study_of(spec: TrialSpec) -> Study:
    """The study that a trial's spec describes. Raises InvalidRecipe."""
    try:
        return Study(name=spec.recipe.name, steps=spec.recipe.steps, search=Search.model_validate(spec.study))
    except ValidationError as error:
        raise InvalidRecipe(f"the study is not valid: {error.errors()[0]['msg']}") from error


def run(spec: TrialSpec, emit: Emit, clock: Callable[[], float] = time.monotonic) -> Studied:
    """Searches; leaves the storage in spec.scratch/study and the finalists' steps in spec.scratch/steps.

    Raises OptimizerError for bad inputs. Points whose passes give up are passed over.
    """
    study = study_of(spec)
    inputs = read_inputs(spec)
    check_order(study.template, inputs.stage)
    lasting = spec.resume or spec.scratch / "resume"
    lasting.mkdir(parents=True, exist_ok=True)
    # Steps of the points are told only once it is known whose they are.
    bench = Bench(spec, inputs, fingerprint(), StepStore(lasting / "steps", spec.cache), lambda event: None, clock)
    scorer = Scorer.of(bench)
    accuracy = scorer.source_accuracy()
    loss = allowed_loss(spec.task, accuracy, spec.objective.max_accuracy_drop)
    teller = _Teller(emit, clock)

    def score(recipe: Recipe, number: int, of: int) -> Figures:
        return scorer.figures(
            recipe, accuracy - _HOPELESS * loss, lambda share, what: teller.tell(number, of, share, what)
        )

    result = search(study, score, accuracy - loss, lasting, spec.seed, clock)
    _leave_database(lasting / STUDY_FILE, spec.scratch / "study")
    for recipe, _ in result.finalists:
        _hand_in(recipe, bench, lasting / "steps", emit)
    tried = len(result.table.rows)
    found = f"{len(result.finalists)} of {tried} points are finalists" if result.finalists else (
        f"none of {tried} points keeps within {loss:.4g} of the source's {accuracy:.4f} on the selection rows"
    )  # fmt: skip
    return Studied(finalists=tuple(Finalist(recipe=recipe, why=why) for recipe, why in result.finalists), why=found)


def _leave_database(database: Path, folder: Path) -> None:
    """Copies the storage to where the worker takes it from."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    shutil.copyfile(database, folder / STUDY_FILE)


def _hand_in(recipe: Recipe, bench: Bench, steps: Path, emit: Emit) -> None:
    """Copies a finalist's steps to where the worker takes steps from; copies, since linked files are refused."""
    for key, step in zip(step_keys(recipe, bench.key_inputs), recipe.steps, strict=True):
        made, target = steps / key, bench.spec.scratch / "steps" / key
        if made.is_dir() and not target.exists():
            shutil.copytree(made, target)
            emit(StepFinished(step=step.use, key=key, seconds=0.0, recipe=recipe))


class _Teller:
    """Tells how far a study has come, a few times a second at most, and never goes back."""

    def __init__(self, emit: Emit, clock: Callable[[], float]) -> None:
        self._emit = emit
        self._clock = clock
        self._told = float("-inf")
        self._percent = 0.0

    def tell(self, number: int, of: int, share: float, what: str) -> None:
        """Point `number` (from 0) of at most `of` is `share` done."""
        now = self._clock()
        if now - self._told < _EVERY_SECONDS:
            return
        self._told = now
        self._percent = max(self._percent, min(99.0, 100 * (number + share) / max(1, of)))
        self._emit(Progress(step=STEP, percent=round(self._percent, 1), message=f"point {number + 1}: {what}"))
