"""OptimizationService: thin over the queue; a watch tells everything once and then ends."""

import threading
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from service.wire.stillroom.v1 import optimization_service_pb2 as wire
from service.wire.stillroom.v1.optimization_service_pb2_grpc import OptimizationServiceStub

RECIPE = "name: small\nsteps:\n- use: quantize_dynamic\n"


@pytest.fixture
def stub(
    channel: grpc.Channel, push: Callable[..., Any], linear_model: Callable[..., bytes]
) -> OptimizationServiceStub:
    push("flowers", linear_model(), b"rows")
    return OptimizationServiceStub(channel)


def created(stub: OptimizationServiceStub, **fields: Any) -> wire.Job:
    request = wire.CreateOptimizationRequest(model="flowers", recipes_yaml=[RECIPE], **fields)
    return stub.CreateOptimization(request).job


def test_a_job_is_written_and_found_again(stub: OptimizationServiceStub) -> None:
    job = created(stub, request_id="mine", seed=3)
    assert (job.model, job.checkpoint, job.state) == ("flowers", "r1", wire.JOB_STATE_QUEUED)
    assert [trial.recipe for trial in job.trials] == ["fp32", "small"]
    assert {trial.state for trial in job.trials} == {wire.TRIAL_STATE_QUEUED}
    assert created(stub, request_id="mine", seed=3) == job
    assert stub.GetOptimization(wire.GetOptimizationRequest(job_id=job.job_id)).job == job
    other = created(stub)
    listed = stub.ListOptimizations(wire.ListOptimizationsRequest(model="flowers")).jobs
    assert [found.job_id for found in listed] == [other.job_id, job.job_id]
    assert len(stub.ListOptimizations(wire.ListOptimizationsRequest(page_size=1)).jobs) == 1


def test_a_watch_tells_what_was_and_what_comes_and_ends(stub: OptimizationServiceStub) -> None:
    job_id = created(stub).job_id
    watch = stub.WatchOptimization(wire.WatchOptimizationRequest(job_id=job_id))
    first = next(watch)
    assert (first.event.sequence, first.event.kind, first.job_state) == (1, "state", wire.JOB_STATE_QUEUED)
    cancelled = stub.CancelOptimization(wire.CancelOptimizationRequest(job_id=job_id)).job
    assert cancelled.state == wire.JOB_STATE_CANCELLED
    assert cancelled.HasField("end_time")
    rest = list(watch)
    assert rest[-1].job_state == wire.JOB_STATE_CANCELLED
    sequences = [first.event.sequence, *(message.event.sequence for message in rest)]
    assert sequences == list(range(1, len(sequences) + 1))
    again = stub.WatchOptimization(wire.WatchOptimizationRequest(job_id=job_id, after_sequence=sequences[-2]))
    assert [message.event.sequence for message in again] == [sequences[-1]]


def test_a_watch_ends_when_the_server_stops(
    stub: OptimizationServiceStub, control: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = stub.WatchOptimization(wire.WatchOptimizationRequest(job_id=created(stub).job_id))
    next(watch)
    threading.Timer(0.05, control.stopping.set).start()
    with pytest.raises(grpc.RpcError) as failure:
        next(watch)
    assert failure.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "watch again" in failure.value.details()


def test_bad_requests_have_a_status_and_a_sentence(stub: OptimizationServiceStub) -> None:
    bad, absent = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
    create = wire.CreateOptimizationRequest
    for request, status, message in (
        (create(model="x"), absent, "no model 'x'"),
        (create(model="flowers", checkpoint="r9"), absent, "no checkpoint 'r9'"),
        (create(model="flowers", recipes_yaml=["name: x\nsteps:\n- use: magic\n"]), bad, "recipe"),
        (create(model="flowers", recipes_yaml=["{"]), bad, "YAML"),
        (create(model="flowers", recipes_yaml=[RECIPE] * 51), bad, "at most 50"),
        (create(model="flowers", recipes_yaml=[RECIPE], max_accuracy_drop=2.0), bad, "max_accuracy_drop"),
        (create(model="flowers", recipes_yaml=[RECIPE], prefer="beauty"), bad, "one of latency, size"),
    ):
        with pytest.raises(grpc.RpcError) as failure:
            stub.CreateOptimization(request)
        assert (failure.value.code(), message in failure.value.details()) == (status, True)
    for call in (
        lambda: stub.GetOptimization(wire.GetOptimizationRequest(job_id="x")),
        lambda: stub.CancelOptimization(wire.CancelOptimizationRequest(job_id="x")),
        lambda: next(stub.WatchOptimization(wire.WatchOptimizationRequest(job_id="x"))),
    ):
        with pytest.raises(grpc.RpcError) as failure:
            call()
        assert failure.value.code() is absent
    with pytest.raises(grpc.RpcError) as failure:
        stub.ListOptimizations(wire.ListOptimizationsRequest(page_size=-1))
    assert failure.value.code() is bad
