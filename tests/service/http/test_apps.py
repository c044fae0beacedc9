"""Both HTTP ports over real sockets: the inference protocol's read-only form, and metrics with probes."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.parser import text_string_to_metric_families
from starlette.applications import Starlette

from service.errors import FailedPrecondition, Unavailable
from service.http.inference import inference_app
from service.http.metrics import metrics_app
from service.http.server import HttpServer
from service.wire.open_inference import grpc_service_pb2 as wire
from service.wire.open_inference import grpc_service_pb2_grpc as wire_grpc


class Engine(wire_grpc.GRPCInferenceServiceServicer):
    """Answers for one model, `m` with a version `v`."""

    ready = True

    def ServerLive(self, request: Any, context: Any) -> wire.ServerLiveResponse:  # noqa: N802
        return wire.ServerLiveResponse(live=True)

    def ServerReady(self, request: Any, context: Any) -> wire.ServerReadyResponse:  # noqa: N802
        return wire.ServerReadyResponse(ready=self.ready)

    def ServerMetadata(self, request: Any, context: Any) -> wire.ServerMetadataResponse:  # noqa: N802
        return wire.ServerMetadataResponse(name="stillroom", version="1", extensions=["model_configuration"])

    def ModelReady(self, request: Any, context: Any) -> wire.ModelReadyResponse:  # noqa: N802
        return wire.ModelReadyResponse(ready=(request.name, request.version) in (("m", ""), ("m", "v")))

    def ModelMetadata(self, request: Any, context: Any) -> wire.ModelMetadataResponse:  # noqa: N802
        if request.name != "m":
            context.abort(grpc.StatusCode.NOT_FOUND, f"no model {request.name}")
        return wire.ModelMetadataResponse(name="m", versions=[request.version or "all"])

    def ModelConfig(self, request: Any, context: Any) -> wire.ModelConfigResponse:  # noqa: N802
        return wire.ModelConfigResponse(config={"name": "m", "max_batch_size": 8})

    def RepositoryIndex(self, request: Any, context: Any) -> wire.RepositoryIndexResponse:  # noqa: N802
        return wire.RepositoryIndexResponse(models=[{"name": "m", "version": "v", "state": "READY"}])


def ask(port: int, path: str, method: str = "GET") -> tuple[int, Any]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            status, body = response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            status, body = error.code, error.read()
    try:
        return status, json.loads(body)
    except ValueError:
        return status, body.decode()


def served(name: str, app: Starlette) -> Iterator[int]:
    server = HttpServer(name, app, "127.0.0.1", 0)
    server.start()
    yield server.port
    server.close()


@pytest.fixture
def engine() -> Iterator[tuple[Engine, str, grpc.Server]]:
    engine = Engine()
    server = grpc.server(ThreadPoolExecutor(4))
    wire_grpc.add_GRPCInferenceServiceServicer_to_server(engine, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield engine, f"127.0.0.1:{port}", server
    server.stop(None).wait()


@pytest.fixture
def port(engine: tuple[Engine, str, grpc.Server]) -> Iterator[int]:
    with grpc.insecure_channel(engine[1]) as channel:
        yield from served("HTTP", inference_app(channel, "127.0.0.1:8001"))


def test_the_protocols_questions_are_answered(port: int) -> None:
    assert ask(port, "/v2") == (200, {"name": "stillroom", "version": "1", "extensions": ["model_configuration"]})
    assert ask(port, "/v2/health/live") == (200, "")
    assert ask(port, "/v2/health/ready") == (200, "")
    assert ask(port, "/v2/models/m")[1]["versions"] == ["all"]
    assert ask(port, "/v2/models/m/versions/v")[1]["versions"] == ["v"]
    assert ask(port, "/v2/models/m/ready") == (200, "")
    assert ask(port, "/v2/models/m/versions/v/ready") == (200, "")
    assert ask(port, "/v2/models/m/versions/w/ready") == (400, "")
    assert ask(port, "/v2/models/m/config")[1]["max_batch_size"] == 8
    index = [{"name": "m", "version": "v", "state": "READY", "reason": ""}]
    assert ask(port, "/v2/repository/index") == ask(port, "/v2/repository/index", "POST") == (200, index)


def test_what_is_not_there_or_not_served_says_so(port: int) -> None:
    assert ask(port, "/v2/models/x") == (404, {"error": "no model x"})
    for path in ("/v2/models/m/infer", "/v2/models/m/versions/v/infer"):
        status, body = ask(port, path, "POST")
        assert status == 501
        assert "gRPC only: send ModelInfer to 127.0.0.1:8001" in body["error"]
    assert ask(port, "/v2/models/m", "POST")[0] == 405
    assert ask(port, "/nothing")[0] == 404


def test_without_an_engine_nothing_is_alive(engine: tuple[Engine, str, grpc.Server], port: int) -> None:
    engine[0].ready = False
    assert ask(port, "/v2/health/ready") == (503, "")
    engine[2].stop(None).wait()
    assert ask(port, "/v2/health/live") == (503, {"error": "the engine cannot be reached"})


class Metrics:
    """What the metrics port is made of, to be changed by the test."""

    def __init__(self) -> None:
        self.ready = False
        self.registry = CollectorRegistry()
        Gauge("own", "Own.", registry=self.registry).set(1)

    def scrape(self) -> bytes:
        return b"# HELP theirs T.\n# TYPE theirs gauge\ntheirs 2\n"

    def lost(self) -> bytes:
        raise Unavailable("engine 1 cannot be reached")

    def app(self) -> Starlette:
        sources = [('engine="0"', self.scrape), ('engine="1"', self.lost)]
        return metrics_app(self.registry, sources, lambda: self.ready)


def test_one_scrape_sees_everybody_who_can_be_reached() -> None:
    metrics = Metrics()
    for port in served("metrics", metrics.app()):
        status, text = ask(port, "/metrics")
        assert status == 200
        found = {family.name: family.samples[0] for family in text_string_to_metric_families(text)}
        assert found["own"].value == 1
        assert (found["theirs"].value, found["theirs"].labels) == (2, {"engine": "0"})
        assert ask(port, "/healthz") == (200, "ok\n")
        assert ask(port, "/readyz") == (503, "not ready\n")
        metrics.ready = True
        assert ask(port, "/readyz") == (200, "ready\n")


def test_a_taken_port_is_refused_with_a_sentence() -> None:
    for port in served("metrics", Metrics().app()):
        with pytest.raises(FailedPrecondition, match=rf"the HTTP port {port} on 127.0.0.1 cannot be had"):
            HttpServer("HTTP", Metrics().app(), "127.0.0.1", port)
