"""VariantService: figures from the manifest, states from the engines, files byte for byte."""

from collections.abc import Callable
from typing import Any

import grpc
import pytest

from optimizer.artifact.manifest import Verdict
from service.control import Control
from service.fleet.board import Serving
from service.fleet.fake import FakeEngine
from service.wire.stillroom.v1 import variant_service_pb2 as wire
from service.wire.stillroom.v1.variant_service_pb2_grpc import VariantServiceStub

LARGE = bytes(range(256)) * 10_000


@pytest.fixture
def stub(channel: grpc.Channel) -> VariantServiceStub:
    return VariantServiceStub(channel)


@pytest.fixture
def variants(push: Callable[..., Any], linear_model: Callable[..., bytes], publish: Callable[..., None]) -> None:
    push("flowers", linear_model())
    publish("flowers", "r1.fp32", Verdict.SOURCE, LARGE)
    publish("flowers", "r1.int8", Verdict.ACCEPT, b"small")
    publish("flowers", "r1.bad", Verdict.REJECT, b"bad")


def listed(stub: VariantServiceStub) -> dict[str, wire.Variant]:
    response = stub.ListVariants(wire.ListVariantsRequest(model="flowers"))
    return {variant.name: variant for variant in response.variants}


@pytest.mark.usefixtures("variants")
def test_every_figure_is_shown(stub: VariantServiceStub) -> None:
    found = listed(stub)
    assert list(found) == ["r1.fp32", "r1.int8", "r1.bad"]
    source, small, bad = found.values()
    assert (source.verdict, source.parent, source.accepted) == (wire.VERDICT_SOURCE, "", True)
    assert not source.HasField("source_metric")
    assert (small.checkpoint, small.recipe, small.parent) == ("r1", "int8", "r1.fp32")
    assert (small.metric.name, small.metric.value, small.metric.n) == ("accuracy", 0.9, 200)
    assert (small.source_metric.low, small.difference.name) == (0.85, "difference")
    (latency,) = small.latencies
    assert (latency.batch, latency.p99_ms, latency.speedup, latency.speedup_low) == (1, 2.0, 3.5, 3.1)
    assert (small.peak_memory_bytes, small.target) == (1000, "cpu")
    assert [file.path for file in small.files] == ["model.onnx", "golden.npz", "manifest.json"]
    assert (bad.state, bad.accepted) == (wire.VARIANT_STATE_STORED, False)
    assert bad.reason == "the accuracy falls by 3 points"
    one = stub.GetVariant(wire.GetVariantRequest(model="flowers", variant="r1.int8")).variant
    assert one == small


@pytest.mark.usefixtures("variants")
def test_states_are_what_the_engine_says(stub: VariantServiceStub, control: Control, engine: FakeEngine) -> None:
    assert listed(stub)["r1.fp32"].state == wire.VARIANT_STATE_LOADING
    assert listed(stub)["r1.fp32"].reason == "no engine is connected"
    engine.deaf = True
    engine.failing["r1.int8"] = "out of memory"
    engine.start()
    assert engine.wait_for(1, 10)
    assert listed(stub)["r1.fp32"].state == wire.VARIANT_STATE_LOADING
    engine.hear()
    assert control.board.wait_for(
        lambda: control.board.standing("default", "flowers", "r1.fp32").serving is Serving.READY, 10
    )
    found = listed(stub)
    assert found["r1.fp32"].state == wire.VARIANT_STATE_READY
    assert (found["r1.fp32"].traffic, found["r1.int8"].traffic) == (1.0, 0.0)
    assert (found["r1.int8"].state, found["r1.int8"].reason) == (wire.VARIANT_STATE_UNAVAILABLE, "out of memory")
    assert found["r1.bad"].state == wire.VARIANT_STATE_STORED


@pytest.mark.usefixtures("variants")
def test_files_arrive_whole_in_pieces(stub: VariantServiceStub) -> None:
    received: dict[str, bytes] = {}
    for message in stub.DownloadVariant(wire.DownloadVariantRequest(model="flowers", variant="r1.fp32")):
        assert len(message.data) <= 1 << 20
        if message.HasField("file"):
            path = message.file.path
            received[path] = b""
        received[path] += message.data
    assert received == {"model.onnx": LARGE, "golden.npz": b"golden", "manifest.json": b"{}"}
    wanted = wire.DownloadVariantRequest(model="flowers", variant="r1.fp32", paths=["manifest.json"])
    (only,) = stub.DownloadVariant(wanted)
    assert (only.file.path, only.data) == ("manifest.json", b"{}")


@pytest.mark.usefixtures("variants")
def test_what_is_not_there_is_named_beside_what_is(stub: VariantServiceStub) -> None:
    calls: list[tuple[Callable[[], Any], str]] = [
        (lambda: stub.ListVariants(wire.ListVariantsRequest(model="x")), "models are: flowers"),
        (lambda: stub.GetVariant(wire.GetVariantRequest(model="x")), "models are: flowers"),
        (lambda: stub.GetVariant(wire.GetVariantRequest(model="flowers", variant="r2.x")), "it has r1.fp32, r1.int8"),
        (
            lambda: list(
                stub.DownloadVariant(
                    wire.DownloadVariantRequest(model="flowers", variant="r1.fp32", paths=["../../registry.sqlite3"])
                )
            ),
            "it has model.onnx, golden.npz, manifest.json",
        ),
    ]
    for call, message in calls:
        with pytest.raises(grpc.RpcError) as failure:
            call()
        assert failure.value.code() is grpc.StatusCode.NOT_FOUND
        assert message in failure.value.details()
