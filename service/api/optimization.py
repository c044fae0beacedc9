"""OptimizationService: durable jobs, and a stream of what happens in them."""

import threading
from collections.abc import Iterator
from typing import Any

import grpc

from optimizer.recipe.document import parse_yaml
from optimizer.recipe.objective import Objective
from service.api.caller import tenant_of
from service.errors import InvalidArgument, ResourceExhausted, Unavailable
from service.jobs.queue import JobQueue
from service.jobs.request import objective
from service.jobs.states import JobState, TrialState, has_ended
from service.jobs.views import EventView, JobView, TrialView
from service.wire.stillroom.v1 import optimization_service_pb2 as wire
from service.wire.stillroom.v1 import optimization_service_pb2_grpc as wire_grpc

_POLL_SECONDS = 0.15
# Each watcher occupies a thread of the server for as long as its job takes.
MAX_WATCHERS = 64
_MAX_RECIPES = 50
_MAX_PAGE = 1000

_JOB_STATES = {
    JobState.QUEUED: wire.JOB_STATE_QUEUED,
    JobState.RUNNING: wire.JOB_STATE_RUNNING,
    JobState.SUCCEEDED: wire.JOB_STATE_SUCCEEDED,
    JobState.FAILED: wire.JOB_STATE_FAILED,
    JobState.CANCELLED: wire.JOB_STATE_CANCELLED,
}
_TRIAL_STATES = {
    TrialState.QUEUED: wire.TRIAL_STATE_QUEUED,
    TrialState.RUNNING: wire.TRIAL_STATE_RUNNING,
    TrialState.PUBLISHED: wire.TRIAL_STATE_PUBLISHED,
    TrialState.STUDIED: wire.TRIAL_STATE_STUDIED,
    TrialState.FAILED: wire.TRIAL_STATE_FAILED,
    TrialState.SKIPPED: wire.TRIAL_STATE_SKIPPED,
}


class OptimizationServicer(wire_grpc.OptimizationServiceServicer):
    """Thin over service.jobs.queue."""

    def __init__(self, queue: JobQueue, stopping: threading.Event) -> None:
        """`stopping` ends the watchers."""
        self._queue = queue
        self._stopping = stopping
        self._watchers = threading.BoundedSemaphore(MAX_WATCHERS)

    def CreateOptimization(
        self, request: wire.CreateOptimizationRequest, context: Any
    ) -> wire.CreateOptimizationResponse:
        """See optimization_service.proto."""
        tenant = tenant_of(context)
        if len(request.recipes_yaml) > _MAX_RECIPES:
            raise InvalidArgument(f"a job may try at most {_MAX_RECIPES} recipes, not {len(request.recipes_yaml)}")
        job_id = self._queue.create(
            tenant,
            request.model,
            request.checkpoint,
            [parse_yaml(text) for text in request.recipes_yaml],
            objective=_objective(request),
            budget_seconds=request.budget_seconds,
            seed=request.seed,
            request_id=request.request_id,
        )
        return wire.CreateOptimizationResponse(job=_job(self._queue.get(tenant, job_id)))

    def PlanOptimization(self, request: wire.PlanOptimizationRequest, context: Any) -> wire.PlanOptimizationResponse:
        """See optimization_service.proto."""
        wanted = request.optimization
        found = self._queue.forecast(
            tenant_of(context),
            wanted.model,
            wanted.checkpoint,
            [parse_yaml(text) for text in wanted.recipes_yaml],
            objective=_objective(wanted),
            budget_seconds=wanted.budget_seconds,
            seed=wanted.seed,
        )
        return wire.PlanOptimizationResponse(
            trials=[
                wire.PlannedTrial(recipe=trial.recipe, steps=trial.steps, why=trial.why, seconds=trial.seconds)
                for trial in found.trials
            ],
            goes_on=found.goes_on,
            metric=found.metric,
            evaluation_rows=found.evaluation_rows,
            margin=found.margin,
            resolvable=found.resolvable,
            rows_needed=found.rows_needed,
        )

    def GetOptimization(self, request: wire.GetOptimizationRequest, context: Any) -> wire.GetOptimizationResponse:
        """See optimization_service.proto."""
        return wire.GetOptimizationResponse(job=_job(self._queue.get(tenant_of(context), request.job_id)))

    def ListOptimizations(self, request: wire.ListOptimizationsRequest, context: Any) -> wire.ListOptimizationsResponse:
        """See optimization_service.proto."""
        if request.page_size < 0:
            raise InvalidArgument("page_size must not be negative")
        limit = min(request.page_size or 100, _MAX_PAGE)
        jobs = self._queue.list(tenant_of(context), request.model, limit)
        return wire.ListOptimizationsResponse(jobs=[_job(job) for job in jobs])

    def CancelOptimization(
        self, request: wire.CancelOptimizationRequest, context: Any
    ) -> wire.CancelOptimizationResponse:
        """See optimization_service.proto."""
        return wire.CancelOptimizationResponse(job=_job(self._queue.cancel(tenant_of(context), request.job_id)))

    def WatchOptimization(
        self, request: wire.WatchOptimizationRequest, context: grpc.ServicerContext
    ) -> Iterator[wire.WatchOptimizationResponse]:
        """See optimization_service.proto."""
        if not self._watchers.acquire(blocking=False):
            raise ResourceExhausted(
                f"{MAX_WATCHERS} clients are watching jobs already; ask for the job's state instead"
            )
        try:
            yield from self._watch(tenant_of(context), request.job_id, request.after_sequence, context)
        finally:
            self._watchers.release()

    def _watch(
        self, tenant: str, job_id: str, after_sequence: int, context: grpc.ServicerContext
    ) -> Iterator[wire.WatchOptimizationResponse]:
        while context.is_active():
            # The state first: all that happened before a job's end is among the events read afterwards.
            ended = has_ended(self._queue.get(tenant, job_id).state)
            events = self._queue.events(tenant, job_id, after_sequence)
            for event in events:
                yield wire.WatchOptimizationResponse(event=_event(event), job_state=_JOB_STATES[event.job_state])
                after_sequence = event.sequence
            if not events:
                if ended:
                    return
                if self._stopping.wait(_POLL_SECONDS):
                    raise Unavailable("the server is stopping; watch again from the last sequence number")


def _objective(request: wire.CreateOptimizationRequest) -> Objective:
    return objective(
        max_accuracy_drop=request.max_accuracy_drop if request.HasField("max_accuracy_drop") else 0.01,
        prefer=request.prefer,
        max_p95_ms=request.max_p95_ms if request.HasField("max_p95_ms") else None,
        max_size_bytes=request.max_size_bytes if request.HasField("max_size_bytes") else None,
    )


def _job(view: JobView) -> wire.Job:
    message = wire.Job(
        job_id=view.job_id,
        model=view.model,
        checkpoint=view.checkpoint,
        state=_JOB_STATES[view.state],
        trials=[_trial(trial) for trial in view.trials],
        error=view.error,
        sandbox=view.sandbox,
        attempts=view.attempts,
    )
    message.create_time.FromDatetime(view.created_at)
    if view.started_at is not None:
        message.start_time.FromDatetime(view.started_at)
    if view.ended_at is not None:
        message.end_time.FromDatetime(view.ended_at)
    return message


def _trial(view: TrialView) -> wire.Trial:
    return wire.Trial(
        ordinal=view.ordinal,
        recipe=view.recipe,
        state=_TRIAL_STATES[view.state],
        variant=view.variant,
        reason=view.reason,
        why=view.why,
    )


def _event(view: EventView) -> wire.JobEvent:
    message = wire.JobEvent(
        sequence=view.sequence,
        kind=view.kind,
        trial=view.trial,
        step=view.step,
        percent=view.percent,
        loss=view.loss,
        eta_seconds=view.eta_seconds,
        message=view.message,
    )
    message.time.FromDatetime(view.time)
    return message
