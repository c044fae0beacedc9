"""Turns what a trial's child says into events of its job; believes nothing that was not asked for."""

import logging
import time
from collections.abc import Callable, Sequence

from sqlalchemy.exc import SQLAlchemyError

from optimizer.recipe.recipe import Recipe
from optimizer.recipe.trial import Progress, StepFinished, StepStarted
from service.jobs.assignment import Task
from service.jobs.lease import Lease
from service.jobs.leases import Leases
from service.jobs.views import Happening
from service.worker.output import plain
from service.worker.progress import Course

_LOG = logging.getLogger(__name__)

# Progress is written down at most so often; a watcher reads no faster.
_PROGRESS_SECONDS = 1.0
_MESSAGE_CHARACTERS = 200
# Of one study; a hostile one could go on for ever.
_MOST_STUDIED = 2000


class Narrator:
    """The Listener of one trial."""

    def __init__(
        self,
        leases: Leases,
        lease: Lease,
        task: Task,
        course: Course,
        keys: Sequence[str],
        keep: Callable[[str], None],
        keys_of: Callable[[Recipe], Sequence[str]],
    ) -> None:
        """`keys` are the planned cache keys of the recipe's steps; `keep` is called once with each that finishes.

        `keys_of` plans those of another recipe, as a study tries.
        """
        self._leases = leases
        self._lease = lease
        self._task = task
        self._course = course
        self._keep = keep
        self._steps = [step.use for step in task.recipe.steps]
        self._keys_of = keys_of
        # Steps that may still be handed in.
        self._awaited = dict(zip(keys, self._steps, strict=True))
        self._studied: set[str] = set()
        self._begun: set[int] = set()
        self._share = 0.0
        self._told_seconds = float("-inf")

    def confined(self, level: str) -> None:
        """See Listener."""
        self._leases.record_sandbox(self._lease, level)

    def happened(self, event: StepStarted | Progress | StepFinished) -> None:
        """See Listener."""
        if isinstance(event, StepStarted):
            self._step_started(event)
        elif isinstance(event, StepFinished):
            self._step_finished(event)
        else:
            self._progress(event)

    def _step_started(self, event: StepStarted) -> None:
        if event.step in self._steps and event.index not in self._begun and len(self._begun) < len(self._steps):
            self._begun.add(event.index)
            self._tell("step", event.step, f"{event.step}: from the cache" if event.cached else event.step)

    def _progress(self, event: Progress) -> None:
        self._share = max(self._share, min(1.0, event.percent / 100))
        now = time.monotonic()
        if now - self._told_seconds >= _PROGRESS_SECONDS:
            self._told_seconds = now
            self._tell("progress", plain(event.step, 40), plain(event.message, _MESSAGE_CHARACTERS), event.loss)

    def _step_finished(self, event: StepFinished) -> None:
        if self._task.study is not None and event.recipe is not None:
            self._studied_step(event, event.recipe)
            return
        step = self._awaited.pop(event.key, None)
        if step is None:
            _LOG.warning("the trial handed in a step that was not asked for, or twice")
            return
        self._keep(event.key)
        happening = self._happening("step", step, f"{step}: finished in {event.seconds:.1f} s", None)
        self._quietly(lambda: self._leases.step_finished(self._lease, self._task.ordinal, happening))

    def _studied_step(self, event: StepFinished, recipe: Recipe) -> None:
        """Keeps a step of a recipe that a study tries, if its key is one that we plan for that recipe ourselves."""
        steps = dict(zip(self._keys_of(recipe), recipe.steps, strict=True))
        if event.key not in steps or event.key in self._studied or len(self._studied) >= _MOST_STUDIED:
            _LOG.warning("the study handed in a step that its recipe does not have, or twice")
            return
        self._studied.add(event.key)
        self._awaited.pop(event.key, None)
        self._keep(event.key)
        step = steps[event.key].use
        happening = self._happening("step", step, f"{recipe.name}, {step}: finished in {event.seconds:.1f} s", None)
        self._quietly(lambda: self._leases.step_finished(self._lease, self._task.ordinal, happening))

    def _tell(self, kind: str, step: str, message: str, loss: float | None = None) -> None:
        happening = self._happening(kind, step, message, loss)
        self._quietly(lambda: self._leases.record(self._lease, happening))

    def _happening(self, kind: str, step: str, message: str, loss: float | None) -> Happening:
        percent, eta_seconds = self._course.at(self._share, time.monotonic())
        return Happening(kind, self._task.recipe.name, step, percent, loss, eta_seconds, message)

    def _quietly(self, write: Callable[[], None]) -> None:
        try:
            write()
        except SQLAlchemyError as error:
            # A lost event is no reason to lose a trial.
            _LOG.warning("an event is lost: %s", error)
