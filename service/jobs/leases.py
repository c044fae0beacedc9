"""The job queue as a worker sees it: take a job, keep it, write its results down, give it back.

Taking a job raises its fencing token. Every later call checks, inside the transaction that writes, that the caller's
token is still the newest, so a worker that lost its lease while it was away can neither publish nor move anything.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session, sessionmaker

from optimizer.artifact.manifest import Hardware, Manifest
from optimizer.recipe.auto import Result
from optimizer.recipe.recipe import Recipe
from service.errors import AlreadyExists
from service.jobs.additions import Addition, add_trials
from service.jobs.assignment import Assignment, SourceFiles, assignment, published_variants, source_row, work_of
from service.jobs.baseline import Baseline, baseline_of
from service.jobs.changes import add_event, move_job, move_trial, skip_rest
from service.jobs.lease import Lease, available, held
from service.jobs.planning import already_made, variant_name
from service.jobs.results import results_of
from service.jobs.states import JobState, TrialState, has_ended
from service.jobs.variants import insert_variant
from service.jobs.views import Happening
from service.registry import tables
from service.registry.database import reading

# How often a trial may be begun without finishing a step, before it is taken to be what kills its workers.
MAX_ATTEMPTS = 5


@dataclass(frozen=True)
class Begun:
    """A trial that is to be run now, and the name that its variant will have unless another takes it first."""

    variant: str


class Leases:
    """Jobs in the registry, for workers. Safe to use from several threads and processes."""

    def __init__(self, sessions: sessionmaker[Session], clock: Callable[[], datetime]) -> None:
        """`clock` tells the present as an aware time."""
        self._sessions = sessions
        self._clock = clock

    def take(self, owner: str, seconds: float) -> Lease | None:
        """Takes the oldest job that waits or whose lease has run out; None when there is none."""
        with self._sessions.begin() as session:
            now = self._clock()
            job = session.scalars(available(now, seconds)).first()
            if job is None:
                return None
            job.fencing_token += 1
            if job.cancel_requested:
                skip_rest(job, "the job was cancelled")
                move_job(session, job, JobState.CANCELLED, now)
                return None
            for trial in job.trials:
                if trial.state == TrialState.RUNNING:
                    move_trial(trial, TrialState.QUEUED)
            job.lease_owner = owner
            job.lease_expires_at = now + timedelta(seconds=seconds)
            job.attempts += 1
            job.started_at = job.started_at or now
            if job.state == JobState.QUEUED:
                move_job(session, job, JobState.RUNNING, now)
            else:
                add_event(session, job, Happening("log", message="taken over from a worker that went away"), now)
            return Lease(job.id, job.fencing_token, seconds)

    def abandon(self, owner: str) -> int:
        """Ends the leases of a worker that is known to be dead, so that nobody waits for them. How many there were."""
        with self._sessions.begin() as session:
            jobs = session.scalars(
                select(tables.Job)
                .where(tables.Job.state == JobState.RUNNING, tables.Job.lease_owner == owner)
                .with_for_update()
            ).all()
            for job in jobs:
                job.lease_expires_at = self._clock()
            return len(jobs)

    def is_open(self, job_id: str) -> bool:
        """Whether there is such a job and it has not ended, whoever holds it."""
        with reading(self._sessions) as session:
            state = session.scalars(select(tables.Job.state).where(tables.Job.id == job_id)).first()
            return state is not None and not has_ended(JobState(state))

    def explain_waiting(self, message: str) -> None:
        """Tells the watchers of every waiting job, once, why nothing happens."""
        with self._sessions.begin() as session:
            for job in session.scalars(select(tables.Job).where(tables.Job.state == JobState.QUEUED)):
                events = session.scalars(select(tables.JobEvent.body).where(tables.JobEvent.job_id == job.id))
                if all(body["message"] != message for body in events):
                    add_event(session, job, Happening("log", message=message), self._clock())

    def heartbeat(self, lease: Lease) -> None:
        """Extends the lease. Raises LeaseLost, as every method below does."""
        with self._sessions.begin() as session:
            held(session, lease).lease_expires_at = self._clock() + timedelta(seconds=lease.seconds)

    def is_cancelled(self, lease: Lease) -> bool:
        """Whether the job is to be cancelled."""
        with reading(self._sessions) as session:
            return held(session, lease).cancel_requested

    def release(self, lease: Lease) -> None:
        """Gives the job back to be continued by anybody; the trial that ran counts as not begun."""
        with self._sessions.begin() as session:
            job = held(session, lease)
            for trial in job.trials:
                if trial.state == TrialState.RUNNING:
                    move_trial(trial, TrialState.QUEUED)
                    trial.attempts = max(0, trial.attempts - 1)
            job.attempts -= 1
            job.lease_owner = ""
            job.lease_expires_at = None
            # The next holder raises it anyway; raised now, a late call of this one is refused too.
            job.fencing_token += 1
            move_job(session, job, JobState.QUEUED, self._clock(), "given back by a worker that stops")

    def read(self, lease: Lease) -> Assignment:
        """Everything that the job's trials start from."""
        with reading(self._sessions) as session:
            return assignment(held(session, lease))

    def source(self, lease: Lease) -> SourceFiles | None:
        """The published source of the job's checkpoint, when there is one."""
        with reading(self._sessions) as session:
            row = source_row(session, held(session, lease).checkpoint_id)
            return None if row is None else SourceFiles(row.name, row.files)

    def baseline(self, lease: Lease, recipe: str) -> Baseline | None:
        """The earlier revision's variant that one of this recipe is to be compared with, when there is one."""
        with reading(self._sessions) as session:
            return baseline_of(session, held(session, lease), recipe)

    def free_name(self, lease: Lease, recipe: str) -> str:
        """The name that a variant of this recipe would get now."""
        with reading(self._sessions) as session:
            job = held(session, lease)
            return variant_name(job.checkpoint.revision, recipe, _names(session, job.model_id))

    def begin_trial(self, lease: Lease, ordinal: int, hardware: Hardware) -> Begun | None:
        """Starts a trial; None when it has ended without work: its result exists, or it was begun too often."""
        with self._sessions.begin() as session:
            job = held(session, lease)
            trial = job.trials[ordinal - 1]
            now = self._clock()
            recipe = Recipe.model_validate(trial.recipe)
            # A study's recipe is only its template.
            found = None if trial.study is not None else self._existing(session, job, recipe, ordinal, hardware)
            if found is None and trial.attempts >= MAX_ATTEMPTS:
                reason = f"given up: the worker died {trial.attempts} times while it tried this recipe"
                move_trial(trial, TrialState.FAILED, reason)
                add_event(session, job, Happening("trial", trial=recipe.name, message=reason), now)
                return None
            move_trial(trial, TrialState.RUNNING)
            if found is not None:
                _link(trial, found)
                message = f"the same work was published before, as {found.name}"
                add_event(session, job, Happening("published", trial=recipe.name, message=message), now)
                return None
            trial.attempts += 1
            name = variant_name(job.checkpoint.revision, recipe.name, _names(session, job.model_id))
            add_event(session, job, Happening("trial", trial=recipe.name, message=f"started, to become {name}"), now)
            return Begun(name)

    def put_back(self, lease: Lease, ordinal: int, reason: str) -> None:
        """Makes a running trial wait to be begun again; this attempt counts."""
        with self._sessions.begin() as session:
            job = held(session, lease)
            trial = job.trials[ordinal - 1]
            move_trial(trial, TrialState.QUEUED)
            add_event(session, job, Happening("log", trial=trial.recipe["name"], message=reason), self._clock())

    def record(self, lease: Lease, happening: Happening) -> None:
        """Adds an event."""
        with self._sessions.begin() as session:
            add_event(session, held(session, lease), happening, self._clock())

    def record_sandbox(self, lease: Lease, level: str) -> None:
        """Writes down how well the trials were confined."""
        with self._sessions.begin() as session:
            held(session, lease).sandbox = level

    def step_finished(self, lease: Lease, ordinal: int, happening: Happening) -> None:
        """Adds an event, and forgets how often the trial was begun: it gets on."""
        with self._sessions.begin() as session:
            job = held(session, lease)
            job.trials[ordinal - 1].attempts = 0
            add_event(session, job, happening, self._clock())

    def publish(
        self, lease: Lease, ordinal: int, manifest: Manifest, files: Sequence[dict[str, Any]], percent: float
    ) -> None:
        """Makes the variant exist: its row, its blobs' rows, the trial's end and the event in one commit.

        `files` are {"path", "sha256", "size_bytes"} and lie in the store already. Raises AlreadyExists when the name
        was taken meanwhile, FailedPrecondition when the signature is not the model's.
        """
        with self._sessions.begin() as session:
            job = held(session, lease)
            trial = job.trials[ordinal - 1]
            now = self._clock()
            if manifest.name in _names(session, job.model_id):
                raise AlreadyExists(f"variant {manifest.name!r} exists already")
            variant = insert_variant(session, job, manifest, files, now)
            _link(trial, variant)
            message = f"{manifest.name}: {manifest.verdict}" + (f", {manifest.reason}" if manifest.reason else "")
            happening = Happening("published", trial=trial.recipe["name"], percent=percent, message=message)
            add_event(session, job, happening, now)

    def end_trial(self, lease: Lease, ordinal: int, state: TrialState, reason: str, percent: float) -> None:
        """Ends a trial without a variant: FAILED or SKIPPED, with the reason that its owner will read.

        `percent` is how far the job has come with it.
        """
        with self._sessions.begin() as session:
            job = held(session, lease)
            trial = job.trials[ordinal - 1]
            move_trial(trial, state, reason)
            name = trial.recipe["name"]
            happening = Happening("trial", trial=name, percent=percent, message=f"{state}: {reason}")
            add_event(session, job, happening, self._clock())

    def results(self, lease: Lease) -> list[Result]:
        """What came of the job's trials so far."""
        with reading(self._sessions) as session:
            return results_of(held(session, lease))

    def append_trials(self, lease: Lease, additions: Sequence[Addition]) -> int:
        """Adds trials behind those that the job has; what it has already is left out. How many were added."""
        with self._sessions.begin() as session:
            return add_trials(session, held(session, lease), additions, self._clock())

    def end_study(self, lease: Lease, ordinal: int, finalists: Sequence[Addition], reason: str, percent: float) -> None:
        """Ends a study and adds its finalists as trials, in one commit."""
        with self._sessions.begin() as session:
            job = held(session, lease)
            trial = job.trials[ordinal - 1]
            now = self._clock()
            move_trial(trial, TrialState.STUDIED, reason)
            message = f"{TrialState.STUDIED}: {reason}"
            add_event(
                session, job, Happening("trial", trial=trial.recipe["name"], percent=percent, message=message), now
            )
            add_trials(session, job, finalists, now)

    def finish(self, lease: Lease, cancelled: bool = False) -> JobState:
        """Ends the job. It failed only if there is no source; trials that have not ended are skipped."""
        with self._sessions.begin() as session:
            job = held(session, lease)
            now = self._clock()
            if cancelled:
                skip_rest(job, "the job was cancelled")
                move_job(session, job, JobState.CANCELLED, now)
            elif source_row(session, job.checkpoint_id) is None:
                skip_rest(job, "not tried, since the source could not be made")
                job.error = f"the source could not be made: {job.trials[0].reason}"
                move_job(session, job, JobState.FAILED, now, job.error)
            else:
                skip_rest(job, "not tried")
                move_job(session, job, JobState.SUCCEEDED, now)
            return JobState(job.state)

    def _existing(
        self, session: Session, job: tables.Job, recipe: Recipe, ordinal: int, hardware: Hardware
    ) -> tables.Variant | None:
        source = source_row(session, job.checkpoint_id)
        if source is None:
            return None
        if ordinal == 1 and recipe.digest == source.manifest["lineage"]["recipe_digest"]:
            # Two jobs were planned before either had made the source.
            return source
        published = published_variants(session, job.checkpoint_id)
        name = already_made(recipe.name, work_of(job, recipe), hardware, published)
        if name is None:
            return None
        return session.scalars(
            select(tables.Variant).where(tables.Variant.model_id == job.model_id, tables.Variant.name == name)
        ).one()


def _names(session: Session, model_id: int) -> set[str]:
    return set(session.scalars(select(tables.Variant.name).where(tables.Variant.model_id == model_id)))


def _link(trial: tables.Trial, variant: tables.Variant) -> None:
    move_trial(trial, TrialState.PUBLISHED, variant.manifest["reason"])
    trial.variant_id = variant.id
