"""TrafficService: splits are exact, followed by the engines, and honest about what could not be done."""

from collections.abc import Callable
from typing import Any

import grpc
import pytest

from optimizer.artifact.manifest import Verdict
from service.control import Control
from service.fleet.board import Serving
from service.fleet.fake import FakeEngine
from service.wire.stillroom.v1 import traffic_service_pb2 as wire
from service.wire.stillroom.v1.traffic_service_pb2_grpc import TrafficServiceStub


@pytest.fixture
def stub(channel: grpc.Channel) -> TrafficServiceStub:
    return TrafficServiceStub(channel)


@pytest.fixture
def variants(push: Callable[..., Any], linear_model: Callable[..., bytes], publish: Callable[..., None]) -> None:
    """A source, an accepted and a rejected variant."""
    push("flowers", linear_model())
    for name, verdict in (("fp32", Verdict.SOURCE), ("int8", Verdict.ACCEPT), ("bad", Verdict.REJECT)):
        publish("flowers", f"r1.{name}", verdict)


def split(weights: dict[str, float], wait_seconds: float = 5.0) -> wire.SetTrafficRequest:
    arms = [wire.Arm(variant=variant, weight=weight) for variant, weight in weights.items()]
    return wire.SetTrafficRequest(model="flowers", arms=arms, wait_seconds=wait_seconds)


def shares(traffic: wire.Traffic) -> dict[str, float]:
    return {arm.variant: arm.weight for arm in traffic.arms}


@pytest.mark.usefixtures("variants")
def test_a_split_is_followed_before_the_answer_comes(stub: TrafficServiceStub, engine: FakeEngine) -> None:
    engine.start()
    for generation in (1, 2):
        response = stub.SetTraffic(split({"r1.fp32": 90.0, "r1.int8": 10.0}))
        assert list(response.warnings) == []
        assert response.traffic.generation == response.traffic.applied_generation == generation
    (table,) = engine.desired.traffic
    assert {arm.variant: arm.basis_points for arm in table.arms} == {"r1.fp32": 9000, "r1.int8": 1000}
    assert stub.GetTraffic(wire.GetTrafficRequest(model="flowers")).traffic == response.traffic


@pytest.mark.usefixtures("variants")
def test_before_any_split_the_source_takes_all(stub: TrafficServiceStub, control: Control, engine: FakeEngine) -> None:
    before = stub.GetTraffic(wire.GetTrafficRequest(model="flowers")).traffic
    assert (before.generation, shares(before)) == (0, {})
    engine.start()
    assert control.board.wait_for(
        lambda: control.board.standing("default", "flowers", "r1.fp32").serving is Serving.READY, 10
    )
    after = stub.GetTraffic(wire.GetTrafficRequest(model="flowers")).traffic
    assert (after.generation, shares(after)) == (0, {"r1.fp32": 100.0})


@pytest.mark.usefixtures("variants")
def test_a_rejected_variant_is_loaded_when_a_split_names_it(stub: TrafficServiceStub, engine: FakeEngine) -> None:
    engine.start()
    response = stub.SetTraffic(split({"r1.fp32": 50.0, "r1.bad": 50.0}))
    assert response.traffic.applied_generation == 1
    (warning,) = response.warnings
    assert warning.startswith("r1.bad was not accepted (the accuracy falls by 3 points)")
    assert "r1.bad" in {held.variant for held in engine.desired.variants}


@pytest.mark.usefixtures("variants")
def test_without_an_engine_the_split_is_recorded_and_says_so(stub: TrafficServiceStub) -> None:
    response = stub.SetTraffic(split({"r1.fp32": 100.0}, wait_seconds=0.05))
    assert (response.traffic.generation, response.traffic.applied_generation) == (1, 0)
    assert list(response.warnings) == ["generation 1 is recorded; it will be applied when the engine is back"]


@pytest.mark.usefixtures("variants")
def test_an_engine_that_is_slow_is_said_to_be(stub: TrafficServiceStub, engine: FakeEngine) -> None:
    engine.deaf = True
    engine.start()
    assert engine.wait_for(1, 10)
    response = stub.SetTraffic(split({"r1.int8": 100.0}, wait_seconds=0.1))
    assert response.traffic.applied_generation == 0
    assert list(response.warnings) == ["generation 1 is recorded, and not applied yet: waiting for r1.int8"]


@pytest.mark.usefixtures("variants")
def test_an_arm_that_cannot_be_loaded_leaves_traffic_as_it_was(stub: TrafficServiceStub, engine: FakeEngine) -> None:
    engine.failing["r1.bad"] = "the golden outputs differ"
    engine.start()
    response = stub.SetTraffic(split({"r1.bad": 100.0}, wait_seconds=30))
    assert "r1.bad cannot be loaded: the golden outputs differ" in response.warnings
    assert response.traffic.applied_generation == 0
    # Now it is known.
    with pytest.raises(grpc.RpcError) as failure:
        stub.SetTraffic(split({"r1.bad": 100.0}))
    assert failure.value.code() is grpc.StatusCode.FAILED_PRECONDITION


@pytest.mark.usefixtures("variants")
def test_impossible_splits_are_refused(stub: TrafficServiceStub) -> None:
    twice = wire.SetTrafficRequest(model="flowers", arms=[wire.Arm(variant="r1.fp32", weight=50)] * 2)
    bad, absent = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND
    for request, status, message in (
        (split({}), bad, "at least one"),
        (split({"r1.fp32": 50.0}), bad, "sum to 50; they must sum to 100"),
        (split({"r1.fp32": -10.0, "r1.int8": 110.0}), bad, "from 0 to 100"),
        (split({"r1.fp32": float("nan")}), bad, "from 0 to 100"),
        (split({f"v{number}": 1.0 for number in range(100)}), bad, "at most 50"),
        (split({"r1.fp32": 100.0}, wait_seconds=-1), bad, "wait_seconds"),
        (split({"r1.fp32": 100.0}, wait_seconds=float("inf")), bad, "wait_seconds"),
        (twice, bad, "only once"),
        (split({"r9.fp32": 100.0}), absent, "it has r1.fp32, r1.int8, r1.bad"),
        (wire.SetTrafficRequest(model="x", arms=[wire.Arm(variant="a", weight=100)]), absent, "models are: flowers"),
    ):
        with pytest.raises(grpc.RpcError) as failure:
            stub.SetTraffic(request)
        assert (failure.value.code(), message in failure.value.details()) == (status, True)
    with pytest.raises(grpc.RpcError):
        stub.GetTraffic(wire.GetTrafficRequest(model="x"))
    assert stub.GetTraffic(wire.GetTrafficRequest(model="flowers")).traffic.generation == 0
