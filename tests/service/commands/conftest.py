"""A fake server with a published model, and the command line in this process."""

import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from service.cli import app
from service.client.client import Client
from service.client.fake.server import FakeServer

Run = Callable[..., Result]


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as fake:
        yield fake


@pytest.fixture
def run(server: FakeServer) -> Run:
    """Runs `stillroom ...` against the fake server; nothing but expected errors may end it."""

    def invoke(*arguments: object) -> Result:
        environment = {"STILLROOM_SERVER": server.address, "TERM": "dumb", "COLUMNS": "200"}
        result = CliRunner().invoke(app, [str(argument) for argument in arguments], env=environment)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        assert "Traceback" not in result.output
        return result

    return invoke


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    path = tmp_path / "net.onnx"
    path.write_bytes(b"onnx" * 1000)
    return path


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Ten labelled rows of what the fake's model takes, in double precision."""
    buffer = io.BytesIO()
    np.savez(buffer, x=np.arange(40, dtype=np.float64).reshape(10, 4), labels=np.full(10, 3))
    path = tmp_path / "rows.npz"
    path.write_bytes(buffer.getvalue())
    return path


@pytest.fixture
def published(server: FakeServer, checkpoint: Path, data: Path) -> str:
    """Name of a model with four variants."""
    with Client(server.address) as client:
        client.push("digits", checkpoint, {"all": data})
        client.optimize("digits")
    return "digits"
