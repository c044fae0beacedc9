"""The job queue as control sees it: jobs are created, listed, watched and cancelled here, and run elsewhere."""

import re
import secrets
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import cast

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session, sessionmaker

from optimizer.artifact.inspected import Inspection
from optimizer.artifact.manifest import Verdict
from optimizer.artifact.session import present_target, usable_cores
from optimizer.artifact.task import Task
from optimizer.recipe.defaults import default_recipes, source_recipe
from optimizer.recipe.objective import Objective
from optimizer.recipe.recipe import Recipe
from optimizer.recipe.study import Study
from service.errors import FailedPrecondition, InvalidArgument, NotFound
from service.jobs.changes import add_event, move_job, skip_rest
from service.jobs.forecast import Forecast, forecast
from service.jobs.planning import Planned, explained, plan
from service.jobs.request import Asked, asked
from service.jobs.states import JobState, TrialState, has_ended
from service.jobs.views import EventView, Happening, JobView, event_view, job_view
from service.registry import tables
from service.registry.database import reading

_REVISION = re.compile(r"r([1-9][0-9]{0,8})")
_MAX_REQUEST_ID = 64


class JobQueue:
    """Durable jobs in the registry. Safe to use from several threads and processes; every call is one transaction."""

    def __init__(self, sessions: sessionmaker[Session], clock: Callable[[], datetime]) -> None:
        """`clock` tells the present as an aware time."""
        self._sessions = sessions
        self._clock = clock

    def create(
        self,
        tenant: str,
        model: str,
        checkpoint: str = "",
        recipes: Sequence[Recipe | Study] = (),
        objective: Objective | None = None,
        budget_seconds: float = 0.0,
        seed: int = 0,
        request_id: str = "",
    ) -> str:
        """Writes a job and returns its id; the same `request_id` gives the same job.

        No `checkpoint` means the newest, no `recipes` the default set for its kind. Raises NotFound,
        FailedPrecondition (no data yet), InvalidArgument and optimizer.errors.InvalidRecipe.
        """
        if len(request_id) > _MAX_REQUEST_ID:
            raise InvalidArgument(f"request_id has {len(request_id)} characters; at most {_MAX_REQUEST_ID} are allowed")
        request_id = request_id or secrets.token_hex(16)
        request = asked(objective or Objective(), budget_seconds, seed, auto=not recipes)
        try:
            with self._sessions.begin() as session:
                known = _by_request(session, tenant, request_id, model)
                return known or self._insert(session, tenant, model, checkpoint, recipes, request, request_id)
        except IntegrityError:
            # Where writers are not serialised (PostgreSQL), a retry of the same call may have come first.
            with reading(self._sessions) as session:
                known = _by_request(session, tenant, request_id, model)
            if known is None:
                raise
            return known

    def forecast(
        self,
        tenant: str,
        model: str,
        checkpoint: str = "",
        recipes: Sequence[Recipe | Study] = (),
        objective: Objective | None = None,
        budget_seconds: float = 0.0,
        seed: int = 0,
    ) -> Forecast:
        """What `create` would start for the same request. Raises as it does."""
        request = asked(objective or Objective(), budget_seconds, seed, auto=not recipes)
        with reading(self._sessions) as session:
            owner, start, planned = _plan(session, tenant, model, checkpoint, recipes, request)
            assert owner.dataset is not None
            return forecast(
                planned,
                Inspection.model_validate(start.inspection),
                cast(Task, owner.task),
                {split: file["rows"] for split, file in owner.dataset.files.items()},
                request.objective.max_accuracy_drop,
                usable_cores(),
                goes_on=request.auto,
            )

    def get(self, tenant: str, job_id: str) -> JobView:
        """One job. Raises NotFound."""
        with reading(self._sessions) as session:
            return job_view(_job(session, tenant, job_id))

    def list(self, tenant: str, model: str = "", limit: int = 100) -> Sequence[JobView]:
        """The newest jobs, of one model or of all. Raises NotFound for an unknown model."""
        with reading(self._sessions) as session:
            wanted = select(tables.Job).where(tables.Job.tenant == tenant)
            if model:
                wanted = wanted.where(tables.Job.model_id == _model(session, tenant, model).id)
            newest = wanted.order_by(tables.Job.created_at.desc(), tables.Job.id.desc()).limit(limit)
            return [job_view(row) for row in session.scalars(newest)]

    def cancel(self, tenant: str, job_id: str) -> JobView:
        """Ends a job that no worker holds, asks the worker of any other to end it; a job that has ended stays so."""
        with self._sessions.begin() as session:
            job = _job(session, tenant, job_id, lock=True)
            now = self._clock()
            state = JobState(job.state)
            held = state is JobState.RUNNING and job.lease_expires_at is not None and job.lease_expires_at > now
            if held and not job.cancel_requested:
                job.cancel_requested = True
                add_event(session, job, Happening("log", message="cancel requested"), now)
            elif not held and not has_ended(state):
                # A worker that comes back late finds its token outdated.
                job.fencing_token += 1
                skip_rest(job, "the job was cancelled")
                move_job(session, job, JobState.CANCELLED, now)
            return job_view(job)

    def events(self, tenant: str, job_id: str, after_sequence: int = 0, limit: int = 1000) -> Sequence[EventView]:
        """The job's events after `after_sequence`, oldest first. Raises NotFound."""
        with reading(self._sessions) as session:
            job = _job(session, tenant, job_id)
            rows = session.scalars(
                select(tables.JobEvent)
                .where(tables.JobEvent.job_id == job.id, tables.JobEvent.sequence > after_sequence)
                .order_by(tables.JobEvent.sequence)
                .limit(limit)
            )
            return [event_view(row) for row in rows]

    def _insert(
        self,
        session: Session,
        tenant: str,
        model: str,
        checkpoint: str,
        recipes: Sequence[Recipe | Study],
        request: Asked,
        request_id: str,
    ) -> str:
        owner, start, planned = _plan(session, tenant, model, checkpoint, recipes, request)
        now = self._clock()
        job = tables.Job(
            id=secrets.token_hex(8),
            tenant=tenant,
            request_id=request_id,
            model_id=owner.id,
            checkpoint_id=start.id,
            dataset_id=owner.dataset_id,
            state=JobState.QUEUED,
            request=request.to_json(),
            created_at=now,
            trials=[
                tables.Trial(
                    tenant=tenant,
                    ordinal=ordinal,
                    recipe=trial.recipe.model_dump(mode="json"),
                    study=trial.search,
                    why=trial.why,
                    state=TrialState.QUEUED,
                )
                for ordinal, trial in enumerate(planned, 1)
            ],
        )
        session.add(job)
        names = ", ".join(trial.recipe.name for trial in planned)
        add_event(session, job, Happening("state", percent=0.0, message=f"queued: {names}"), now)
        return job.id


def _plan(
    session: Session, tenant: str, model: str, checkpoint: str, recipes: Sequence[Recipe | Study], request: Asked
) -> tuple[tables.Model, tables.Checkpoint, list[Planned]]:
    """The model, the checkpoint to start from, and the trials of a job that asks for these."""
    owner = _model(session, tenant, model)
    start = _checkpoint(owner, checkpoint)
    if owner.dataset_id is None:
        raise FailedPrecondition(f"model {model!r} has no data to measure with: push it with --data FILE")
    has_source = session.scalars(
        select(tables.Variant.id)
        .where(tables.Variant.checkpoint_id == start.id, tables.Variant.verdict == Verdict.SOURCE)
        .limit(1)
    ).first()
    inspection = Inspection.model_validate(start.inspection)
    wanted = recipes or default_recipes(inspection, present_target())
    source = source_recipe(inspection, owner.task)
    planned = plan(start.format, source, has_source is not None, wanted)
    if request.auto:
        planned = [explained(trial, source) for trial in planned]
    return owner, start, planned


def _by_request(session: Session, tenant: str, request_id: str, model: str) -> str | None:
    job = session.scalars(
        select(tables.Job).where(tables.Job.tenant == tenant, tables.Job.request_id == request_id)
    ).first()
    if job is None:
        return None
    if job.model.name != model:
        raise InvalidArgument(f"request_id {request_id!r} belongs to a job of another model; choose a new one")
    return job.id


def _job(session: Session, tenant: str, job_id: str, lock: bool = False) -> tables.Job:
    wanted = select(tables.Job).where(tables.Job.tenant == tenant, tables.Job.id == job_id)
    job = session.scalars(wanted.with_for_update() if lock else wanted).first()
    if job is None:
        raise NotFound(f"there is no job {job_id!r}")
    return job


def _model(session: Session, tenant: str, name: str) -> tables.Model:
    model = session.scalars(
        select(tables.Model).where(tables.Model.tenant == tenant, tables.Model.name == name)
    ).first()
    if model is None:
        raise NotFound(f"there is no model {name!r}")
    return model


def _checkpoint(model: tables.Model, name: str) -> tables.Checkpoint:
    if not model.checkpoints:
        raise NotFound(f"model {model.name!r} has no checkpoint yet: push one")
    if not name:
        return model.checkpoints[-1]
    match = _REVISION.fullmatch(name)
    revision = int(match[1]) if match else 0
    for checkpoint in model.checkpoints:
        if checkpoint.revision == revision:
            return checkpoint
    newest = model.checkpoints[-1].name
    raise NotFound(f"model {model.name!r} has no checkpoint {name!r}; it has r1 to {newest}")
