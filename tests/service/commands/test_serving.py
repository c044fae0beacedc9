import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from typer.testing import Result

from service import control, engine, supervisor
from service.client.client import DEFAULT_SERVER as CLIENT_SERVER
from service.commands import serving
from service.commands.options import DEFAULT_SERVER, command_line
from service.settings import ControlSettings, EngineSettings, WorkerSettings
from service.worker import loop

Run = Callable[..., Result]


@pytest.mark.parametrize("command", [serving.serve, serving.engine, serving.control, serving.worker])
def test_defaults_are_those_of_the_settings(command: Callable[..., None]) -> None:
    defaults: dict[str, Any] = {}
    for settings in (EngineSettings, ControlSettings, WorkerSettings):
        model: type[BaseModel] = settings
        defaults |= {name: field.default for name, field in model.model_fields.items()}
    for name, parameter in inspect.signature(command).parameters.items():
        if name != "no_worker":
            assert parameter.default == defaults[name], name


def test_default_server_is_the_clients() -> None:
    assert DEFAULT_SERVER == CLIENT_SERVER
    assert command_line("jobs", DEFAULT_SERVER) == "stillroom jobs"


def test_serve_hands_its_options_to_the_supervisor(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[EngineSettings, ControlSettings, WorkerSettings | None]] = []
    monkeypatch.setattr(supervisor, "run", lambda *settings: calls.append(settings))
    monkeypatch.setenv("STILLROOM_MAX_BATCH", "16")
    options = ["--host", "0.0.0.0", "--insecure", "--grpc-port", "1", "--http-port", "2", "--metrics-port", "3"]
    assert run("serve", "--home", tmp_path, *options, "--transport", "grpcio", "--sandbox", "require").exit_code == 0
    assert run("serve", "--home", tmp_path, "--no-worker").exit_code == 0
    (found_engine, found_control, found_worker), (_, _, none) = calls
    assert (found_engine.home, found_engine.host, found_engine.grpc_port) == (tmp_path, "0.0.0.0", 1)
    assert (found_engine.transport, found_engine.max_batch) == ("grpcio", 16)
    assert (found_control.http_port, found_control.metrics_port, found_control.insecure) == (2, 3, True)
    assert found_worker is not None
    assert (found_worker.home, found_worker.sandbox) == (tmp_path, "require")
    assert none is None


@pytest.mark.parametrize(
    ("command", "module", "settings"),
    [("engine", engine, EngineSettings), ("control", control, ControlSettings), ("worker", loop, WorkerSettings)],
)
def test_roles_run_alone(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, module: Any, settings: type[BaseModel]
) -> None:
    calls: list[BaseModel] = []
    monkeypatch.setattr(module, "run", calls.append)
    assert run(command, "--home", tmp_path).exit_code == 0
    assert calls == [settings(home=tmp_path)]
