"""One trial from its inputs to its outcome: lays out files, runs the child, keeps its steps, collects its result."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from optimizer.artifact.hardware import target_fingerprint
from optimizer.artifact.manifest import EVALUATION_FILE, MANIFEST_FILE, MODEL_FILE, Hardware
from optimizer.artifact.session import SessionSpec
from optimizer.artifact.store import ArtifactStore, materialise
from optimizer.recipe.keys import KeyInputs, step_keys
from optimizer.recipe.recipe import Recipe
from optimizer.recipe.trial import (
    STUDY_FILE,
    BaselineRef,
    CheckpointRef,
    DatasetRef,
    Finished,
    SourceRef,
    Studied,
    TrialSpec,
)
from service.jobs.assignment import Assignment, SourceFiles, Task
from service.jobs.baseline import Baseline
from service.jobs.lease import Lease
from service.jobs.leases import Leases
from service.uploads.inspection import Inspector
from service.worker.executor import Executor, Order, Outcome
from service.worker.harvest import Tainted, take_files
from service.worker.narrator import Narrator
from service.worker.progress import Course
from service.worker.publication import Claim, collect
from service.worker.resume_store import ResumeStore
from service.worker.step_cache import StepCache
from service.worker.trial_directory import TrialDirectory, remove_tree

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Workshop:
    """What all trials of a worker share."""

    leases: Leases
    store: ArtifactStore
    cache: StepCache
    resume: ResumeStore
    executor: Executor
    # Looks at a finished model before anybody opens it.
    inspector: Inspector
    hardware: Hardware
    session: SessionSpec
    # Machine-wide lock between trainings and measurements; exists.
    machine_lease: Path
    # Where the storages of finished searches go.
    studies: Path
    # Where trials get their directories.
    directory: Path
    max_bytes: int


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
        baseline: Baseline | None = None,
    ) -> None:
        """`variant` is the name that the result is to have; `source` is None for the source itself, `baseline`
        where no earlier revision was measured on the same data.
        """
        self._workshop = workshop
        self._lease = lease
        self._assignment = assignment
        self._task = task
        self._source = source
        self._variant = variant
        self._baseline = baseline
        self._directory = TrialDirectory(workshop.directory / f"{lease.job_id}-{task.ordinal}")
        self._key_inputs = KeyInputs(
            tenant=assignment.tenant,
            checkpoint_digest=assignment.checkpoint_digest,
            dataset_digest=assignment.dataset_digest,
            seed=assignment.seed,
            target=target_fingerprint(workshop.hardware, workshop.session.target),
        )
        # A study takes its template's place only when it is done: what it hands in belongs to the recipes it tries.
        self._keys = step_keys(task.recipe, self._key_inputs)

    def run(self, course: Course, interrupted: Callable[[], bool]) -> Outcome | Claim:
        """Runs the child to its end; its result comes back as a Claim that has been checked.

        Raises OSError when this host cannot hold the files, Tainted when the result is not what was asked for,
        LeaseLost.
        """
        workshop = self._workshop
        spec = self._lay_out()
        order = Order(
            self._directory, read=tuple(spec.cache.values()), locks=(workshop.machine_lease,), resume=spec.resume
        )
        narrator = Narrator(workshop.leases, self._lease, self._task, course, self._keys, self._keep, self._keys_of)
        outcome = workshop.executor.run(order, narrator, interrupted)
        if isinstance(outcome, Studied):
            self._keep_study()
        if not isinstance(outcome, Finished):
            return outcome
        into = self._directory.harvest / "result"
        return collect(outcome.manifest, spec, self._keys, into, workshop.max_bytes, workshop.inspector)

    def close(self) -> None:
        """Removes everything that the trial had on disk, but for what its next attempt goes on from."""
        remove_tree(self._directory.root)

    def _keep_study(self) -> None:
        """Takes the search's storage out for its owner; without it the study is as good."""
        into = self._workshop.studies / f"{self._lease.job_id}-{self._task.ordinal}"
        remove_tree(into)
        try:
            take_files(self._directory.scratch, "study", (STUDY_FILE,), into, self._workshop.max_bytes)
        except (OSError, Tainted) as error:
            _LOG.warning("the search's storage is not kept: %s", error)

    def _keys_of(self, recipe: Recipe) -> list[str]:
        return step_keys(recipe, self._key_inputs)

    def _keep(self, key: str) -> None:
        try:
            self._workshop.cache.keep(self._assignment.tenant, key, self._directory.scratch, self._workshop.max_bytes)
        except (OSError, Tainted) as error:
            # The trial does not need it any more; only a later one would have been quicker.
            _LOG.warning("step %s is not kept: %s", key, error)

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
        baseline = None
        if self._baseline is not None:
            materialise(store, [self._baseline.file], directory.baseline)
            baseline = BaselineRef(
                name=self._baseline.name,
                evaluation=directory.baseline / EVALUATION_FILE,
                rows_digest=self._baseline.rows_digest,
                metric=self._baseline.metric,
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
                "study": self._task.study,
                "source": source,
                "baseline": baseline,
                "session": self._workshop.session,
                "objective": assignment.objective,
                "seed": assignment.seed,
                "scratch": directory.scratch,
                "resume": self._workshop.resume.open(self._lease.job_id, self._task.ordinal),
                "cache": self._workshop.cache.find(assignment.tenant, self._keys),
                "lease": self._workshop.machine_lease,
            }
        )
        directory.spec.write_text(spec.model_dump_json(indent=2))
        return spec
