"""Jobs of the fake server, by the contract of optimization_service.proto; each ends as soon as it is asked for."""

from collections.abc import Iterator

import grpc

from service.client.fake.published import publish
from service.client.fake.refusal import not_found, refuse
from service.client.fake.state import State
from service.wire.stillroom.v1 import optimization_service_pb2 as optimization_pb2
from service.wire.stillroom.v1.optimization_service_pb2_grpc import OptimizationServiceServicer


class Optimizations(OptimizationServiceServicer):
    """Jobs that publish the sample variants; a recipe that contains the word "fail" makes its job fail."""

    def __init__(self, state: State) -> None:
        self._state = state

    def CreateOptimization(
        self, request: optimization_pb2.CreateOptimizationRequest, context: grpc.ServicerContext
    ) -> object:
        state = self._state
        if request.model not in state.models:
            not_found(context, f"model {request.model!r}")
        with state.lock:
            for job_id, known in zip(state.jobs, state.optimizations, strict=True):
                if known.request_id == request.request_id:
                    return optimization_pb2.CreateOptimizationResponse(job=state.jobs[job_id])
            state.optimizations.append(request)
            job = self._job(request)
            state.jobs[job.job_id] = job
            return optimization_pb2.CreateOptimizationResponse(job=job)

    def PlanOptimization(
        self, request: optimization_pb2.PlanOptimizationRequest, context: grpc.ServicerContext
    ) -> object:
        if request.optimization.model not in self._state.models:
            not_found(context, f"model {request.optimization.model!r}")
        planned = optimization_pb2.PlannedTrial(
            recipe="int8", steps=["export", "quantize_static"], why="cheap to try", seconds=15.0
        )
        return optimization_pb2.PlanOptimizationResponse(
            trials=[planned],
            goes_on=not request.optimization.recipes_yaml,
            metric="accuracy",
            evaluation_rows=300,
            margin=0.01,
            resolvable=0.025,
            rows_needed=1900,
        )

    def _job(self, request: optimization_pb2.CreateOptimizationRequest) -> optimization_pb2.Job:
        state = self._state
        checkpoint = request.checkpoint or state.models[request.model].checkpoints[-1].revision
        job_id = f"job{len(state.jobs) + 1}"
        job = optimization_pb2.Job(job_id=job_id, model=request.model, checkpoint=checkpoint, attempts=1)
        job.create_time.GetCurrentTime()
        if any("fail" in recipe for recipe in request.recipes_yaml):
            job.state, job.error = optimization_pb2.JOB_STATE_FAILED, "the source could not be exported"
        else:
            job.state = optimization_pb2.JOB_STATE_SUCCEEDED
            for ordinal, variant in enumerate(publish(state, request.model, checkpoint)):
                published = optimization_pb2.TRIAL_STATE_PUBLISHED
                why = "" if request.recipes_yaml else f"{variant.recipe} is cheap to try"
                job.trials.add(ordinal=ordinal, recipe=variant.recipe, state=published, variant=variant.name, why=why)
        state.events[job_id] = [
            self._event(sequence, job, percent, kind, message)
            for sequence, (percent, kind, message) in enumerate(
                [
                    (0.0, "state", "running"),
                    (10.0, "step", "export"),
                    (50.0, "progress", ""),
                    (100.0, "state", optimization_pb2.JobState.Name(job.state).removeprefix("JOB_STATE_").lower()),
                ],
                start=1,
            )
        ]
        return job

    def _event(
        self, sequence: int, job: optimization_pb2.Job, percent: float, kind: str, message: str
    ) -> optimization_pb2.WatchOptimizationResponse:
        response = optimization_pb2.WatchOptimizationResponse(
            event=optimization_pb2.JobEvent(
                sequence=sequence, kind=kind, trial="fp32", step="export", percent=percent, message=message
            ),
            job_state=job.state if percent == 100 else optimization_pb2.JOB_STATE_RUNNING,
        )
        response.event.time.GetCurrentTime()
        return response

    def GetOptimization(
        self, request: optimization_pb2.GetOptimizationRequest, context: grpc.ServicerContext
    ) -> object:
        return optimization_pb2.GetOptimizationResponse(job=self._find(request.job_id, context))

    def ListOptimizations(
        self, request: optimization_pb2.ListOptimizationsRequest, context: grpc.ServicerContext
    ) -> object:
        jobs = [job for job in reversed(self._state.jobs.values()) if request.model in ("", job.model)]
        return optimization_pb2.ListOptimizationsResponse(jobs=jobs[: request.page_size or 100])

    def CancelOptimization(
        self, request: optimization_pb2.CancelOptimizationRequest, context: grpc.ServicerContext
    ) -> object:
        job = self._find(request.job_id, context)
        if job.state in (optimization_pb2.JOB_STATE_QUEUED, optimization_pb2.JOB_STATE_RUNNING):
            job.state = optimization_pb2.JOB_STATE_CANCELLED
        return optimization_pb2.CancelOptimizationResponse(job=job)

    def WatchOptimization(
        self, request: optimization_pb2.WatchOptimizationRequest, context: grpc.ServicerContext
    ) -> Iterator[object]:
        self._find(request.job_id, context)
        faults = self._state.faults
        close_after, faults.close_watch_after_events = faults.close_watch_after_events, None
        break_after, faults.break_watch_after_events = faults.break_watch_after_events, None
        # Going back by one event more than asked is what a server may do that is not sure of the last one.
        events = [
            event for event in self._state.events[request.job_id] if event.event.sequence >= request.after_sequence
        ]
        for count, event in enumerate(events):
            if count == close_after:
                return
            if count == break_after:
                refuse(context, grpc.StatusCode.UNAVAILABLE, "Socket closed")
            yield event

    def _find(self, job_id: str, context: grpc.ServicerContext) -> optimization_pb2.Job:
        return self._state.jobs.get(job_id) or not_found(context, f"job {job_id!r}")
