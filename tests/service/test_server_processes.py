"""The whole server as its users start it: live at once, one scrape, no orphans, and back after a kill."""

import json
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families

from service.home import Home
from service.settings import ControlSettings, EngineSettings, WorkerSettings
from service.wire.open_inference import grpc_service_pb2
from service.wire.open_inference.grpc_service_pb2_grpc import GRPCInferenceServiceStub
from service.wire.stillroom.v1 import model_service_pb2
from service.wire.stillroom.v1.model_service_pb2_grpc import ModelServiceStub

pytestmark = pytest.mark.e2e

SERVE = """
import sys
from service.errors import ServiceError
from service.settings import ControlSettings, EngineSettings, WorkerSettings
from service.supervisor import run
engine, control, worker = sys.argv[1:]
try:
    run(
        EngineSettings.model_validate_json(engine),
        ControlSettings.model_validate_json(control),
        WorkerSettings.model_validate_json(worker),
    )
except ServiceError as error:
    sys.exit(str(error))
"""


class Server:
    """A server in processes of its own."""

    def __init__(self, home: Home, ports: tuple[int, int, int]) -> None:
        self.grpc_port, self.http_port, self.metrics_port = ports
        settings = (
            EngineSettings(home=home.root, grpc_port=self.grpc_port, intra_op_threads=1),
            ControlSettings(home=home.root, http_port=self.http_port, metrics_port=self.metrics_port),
            WorkerSettings(home=home.root),
        )
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVE, *(part.model_dump_json() for part in settings)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def block(self) -> list[str]:
        """Waits for the start block and returns its lines."""
        assert self.process.stdout is not None
        return [self.process.stdout.readline().rstrip("\n") for _ in range(7)]

    def roles(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def get(self, port: int, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as response:
            body = response.read().decode()
        return json.loads(body) if body.startswith(("{", "[")) else body


@pytest.fixture
def serve(home: Home, free_port: Callable[[], int]) -> Iterator[Callable[[], Server]]:
    ports = (free_port(), free_port(), free_port())
    servers: list[Server] = []

    def serve() -> Server:
        servers.append(Server(home, ports))
        return servers[-1]

    yield serve
    for server in servers:
        server.process.kill()
        server.process.communicate(timeout=20)


def test_the_server_lives_dies_and_comes_back(home: Home, serve: Callable[[], Server]) -> None:
    server = serve()
    block = server.block()
    assert block[0].startswith("Stillroom ")
    assert f"127.0.0.1:{server.grpc_port}" in block[1]

    refused = serve()
    _, errors = refused.process.communicate(timeout=20)
    assert refused.process.returncode == 1
    assert "a server is already running on" in errors
    assert f"(process {server.process.pid})" in errors

    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
        live = GRPCInferenceServiceStub(channel).ServerLive(grpc_service_pb2.ServerLiveRequest(), timeout=10)
        assert live.live
        # What the engine's front does not serve is control's.
        assert not ModelServiceStub(channel).ListModels(model_service_pb2.ListModelsRequest(), timeout=10).models
    with grpc.insecure_channel(f"unix:{home.control_socket}") as channel:
        for health in health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=20):
            if health.status == health_pb2.HealthCheckResponse.SERVING:
                break
    assert server.get(server.http_port, "/v2")["name"]
    assert server.get(server.metrics_port, "/readyz") == "ready\n"
    families = list(text_string_to_metric_families(server.get(server.metrics_port, "/metrics")))
    names = [family.name for family in families]
    assert len(names) == len(set(names))
    assert {"stillroom_build_info", "stillroom_engine_connected", "process_start_time_seconds"} <= set(names)

    roles = server.roles()
    assert len(roles) >= 3
    server.process.kill()
    server.process.communicate(timeout=20)
    _, alive = psutil.wait_procs(roles, timeout=10)
    assert alive == []

    again = serve()
    assert again.block()[0].startswith("Stillroom ")
    roles = again.roles()
    again.process.terminate()
    _, errors = again.process.communicate(timeout=40)
    assert again.process.returncode == 0, errors
    _, alive = psutil.wait_procs(roles, timeout=10)
    assert alive == []
