"""One trial from its inputs to its outcome: lays out files, runs the child, keeps its steps, collects its result."""

import logging
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from optimizer.artifact.hardware import target_fingerprint
from optimizer.artifact.manifest import EVALUATION_FILE, MANIFEST_FILE, MODEL_FILE, Hardware
from optimizer.artifact.session import SessionSpec
from optimizer.artifact.store import ArtifactStore, materialise
from optimizer.recipe.keys import KeyInputs, step_keys
from optimizer.recipe.trial import CheckpointRef, DatasetRef, Progress, SourceRef, StepFinished, StepStarted, TrialSpec
from service.jobs.assignment import Assignment, SourceFiles, Task
from service.jobs.leases import Lease, Leases
from service.jobs.views import Happening
from service.worker.executor import Executor, Interrupted, Order, Outcome
from service.worker.harvest import Tainted
from service.worker.output import plain
from service.worker.progress import Place, eta_seconds
from service.worker.publication import Claim, collect
from service.worker.step_cache import StepCache
from service.worker.trial_directory import TrialDirectory

_LOG = logging.getLogger(__name__)

# Events of one kind are written down at most so often; a watcher reads no faster.
_PROGRESS_SECONDS = 1.0
_MESSAGE_CHARACTERS = 200


@dataclass(frozen=True)
class Workshop:
    """What all trials of a worker share."""

    leases: Leases
    store: ArtifactStore
    cache: StepCache
    executor: Executor
    hardware: Hardware
    session: SessionSpec
    # Machine-wide lock between trainings and measurements; exists.
    machine_lease: Path
    # Where trials get their directories.
    directory: Path
    max_bytes: int


@dataclass(frozen=True)
class Pace:
    """When the present run of the job began, and at which share of its work."""

    started_seconds: float
    share_at_start: float


class TrialRun:
    """One trial of a leased job. `close` removes its files."""

    def __init__(
        self,
        workshop: Workshop,
        lease: Lease,
        assignment: Assignment,
        task: Task,
        source: SourceFiles | None,
        variant: str,
    ) -> None:
        """`variant` is the name that the result is to have; `source` is None for the source itself."""
        self._workshop = workshop
        self._lease = lease
        self._assignment = assignment
        self._task = task
        self._source = source
        self._variant = variant
        self._directory = TrialDirectory(workshop.directory / f"{lease.job_id}-{task.ordinal}")
        self._keys = step_keys(
            task.recipe,
            KeyInputs(
                tenant=assignment.tenant,
                checkpoint_digest=assignment.checkpoint_digest,
                dataset_digest=assignment.dataset_digest,
                seed=assignment.seed,
                target=target_fingerprint(workshop.hardware, workshop.session.target),
            ),
        )

    def run(self, place: Place, pace: Pace, interrupted: Callable[[], bool]) -> Outcome | Claim:
        """Runs the child to its end; its result comes back as a Claim that has been checked.

        Raises OSError when this host cannot hold the files, Tainted when the result is not what was asked for,
        LeaseLost.
        """
        spec = self._lay_out()
        order = Order(
            directory=self._directory,
            read=tuple(spec.cache.values()),
            locks=(self._workshop.machine_lease,),
        )
        listener = _TrialListener(self._workshop, self._lease, self._assignment, self._task, spec, self._keys)
        listener.place, listener.pace = place, pace
        outcome = self._workshop.executor.run(order, listener, interrupted)
        if isinstance(outcome, Interrupted) or outcome.event == "failed":
            return outcome
        into = self._directory.harvest / "result"
        return collect(outcome.manifest, spec, self._keys, into, self._workshop.max_bytes)

    def close(self) -> None:
        """Removes everything that the trial had on disk."""
        shutil.rmtree(self._directory.root, ignore_errors=True)

    def _lay_out(self) -> TrialSpec:
        assignment, directory, store = self._assignment, self._directory, self._workshop.store
        self.close()
        directory.create()
        materialise(store, assignment.checkpoint_files, directory.checkpoint)
        dataset = {}
        for split, file in assignment.dataset_files.items():
            # Two splits may have files of one name.
            materialise(store, [file], directory.dataset / split)
            dataset[split] = directory.dataset / split / file["path"]
        source = None
        if self._source is not None:
            materialise(store, self._source.files, directory.source)
            source = SourceRef(
                name=self._source.name,
                model=directory.source / MODEL_FILE,
                manifest=directory.source / MANIFEST_FILE,
                evaluation=directory.source / EVALUATION_FILE,
            )
        spec = TrialSpec.model_validate(
            {
                "tenant": assignment.tenant,
                "model": assignment.model,
                "task": assignment.model_task,
                "variant": self._variant,
                "checkpoint": CheckpointRef.model_validate(
                    {
                        "revision": assignment.revision,
                        "digest": assignment.checkpoint_digest,
                        "format": assignment.checkpoint_format,
                        "directory": directory.checkpoint,
                    }
                ),
                "dataset": DatasetRef(digest=assignment.dataset_digest, files=dataset),
                "recipe": self._task.recipe,
                "source": source,
                "session": self._workshop.session,
                "max_accuracy_drop": assignment.max_accuracy_drop,
                "seed": assignment.seed,
                "scratch": directory.scratch,
                "cache": self._workshop.cache.find(assignment.tenant, self._keys),
                "lease": self._workshop.machine_lease,
            }
        )
        directory.spec.write_text(spec.model_dump_json(indent=2))
        return spec


class _TrialListener:
    """Turns what the child says into events of the job, and keeps its finished steps. Believes nothing else."""

    place: Place
    pace: Pace

    def __init__(
        self,
        workshop: Workshop,
        lease: Lease,
        assignment: Assignment,
        task: Task,
        spec: TrialSpec,
        keys: list[str],
    ) -> None:
        self._workshop = workshop
        self._lease = lease
        self._assignment = assignment
        self._task = task
        self._spec = spec
        self._steps = [step.use for step in task.recipe.steps]
        # Keys that the child may still hand in, with their pass.
        self._awaited = dict(zip(keys, self._steps, strict=True))
        self._started: set[int] = set()
        self._share = 0.0
        self._told_seconds = float("-inf")

    def confined(self, level: str) -> None:
        """See Listener."""
        self._workshop.leases.record_sandbox(self._lease, level)

    def happened(self, event: StepStarted | Progress | StepFinished) -> None:
        """See Listener."""
        if isinstance(event, StepFinished):
            self._finished(event)
        elif isinstance(event, StepStarted):
            self._begun(event)
        else:
            self._progress(event)

    def _begun(self, event: StepStarted) -> None:
        if event.step not in self._steps or event.index in self._started:
            return
        self._started.add(event.index)
        message = f"{event.step}: from the cache" if event.cached else event.step
        self._tell("step", event.step, message)

    def _progress(self, event: Progress) -> None:
        self._share = max(self._share, event.percent / 100)
        now = time.monotonic()
        if now - self._told_seconds >= _PROGRESS_SECONDS:
            self._told_seconds = now
            step = plain(event.step, 40)
            self._tell("progress", step, plain(event.message, _MESSAGE_CHARACTERS), event.loss)

    def _finished(self, event: StepFinished) -> None:
        step = self._awaited.pop(event.key, None)
        if step is None:
            _LOG.warning("the trial handed in a step that was not asked for")
            return
        try:
            self._workshop.cache.keep(self._assignment.tenant, event.key, self._spec.scratch, self._workshop.max_bytes)
        except (OSError, Tainted) as error:
            # The trial does not need it any more; only a later one would have been quicker.
            _LOG.warning("step %s is not kept: %s", step, error)
        happening = self._happening("step", step, f"{step}: finished in {event.seconds:.1f} s", None)
        self._quietly(lambda: self._workshop.leases.step_finished(self._lease, self._task.ordinal, happening))

    def _tell(self, kind: str, step: str, message: str, loss: float | None = None) -> None:
        happening = self._happening(kind, step, message, loss)
        self._quietly(lambda: self._workshop.leases.record(self._lease, happening))

    def _happening(self, kind: str, step: str, message: str, loss: float | None) -> Happening:
        share = self.place.of_job(self._share)
        return Happening(
            kind=kind,
            trial=self._task.recipe.name,
            step=step,
            percent=100 * share,
            loss=loss,
            eta_seconds=eta_seconds(time.monotonic() - self.pace.started_seconds, self.pace.share_at_start, share),
            message=message,
        )

    def _quietly(self, write: Callable[[], None]) -> None:
        try:
            write()
        except SQLAlchemyError as error:
            # A lost event is no reason to lose a trial.
            _LOG.warning("an event is lost: %s", error)
