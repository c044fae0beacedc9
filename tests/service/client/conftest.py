"""A fake server and a client that waits for nothing."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from service.client.client import Client
from service.client.fake.server import FakeServer


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer() as fake:
        yield fake


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def client(server: FakeServer, clock: Clock) -> Iterator[Client]:
    with Client(server.address, timeout_seconds=10, patience_seconds=5, clock=clock, sleep=clock.sleep) as opened:
        yield opened


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A directory as save_pretrained leaves it after a training, with more in it than a checkpoint needs."""
    directory = tmp_path / "checkpoint"
    (directory / "runs").mkdir(parents=True)
    (directory / "config.json").write_text("{}")
    (directory / "model.safetensors").write_bytes(bytes(range(256)) * 12_000)
    (directory / "training_args.bin").write_bytes(b"\x80\x04N.")
    (directory / "runs" / "events.txt").write_text("log")
    (directory / ".cache").mkdir()
    (directory / ".cache" / "secret").write_text("hidden")
    return directory


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "digits.npz"
    path.write_bytes(b"PK rows")
    return path


@pytest.fixture
def published(client: Client, checkpoint: Path, data: Path) -> str:
    """Name of a model with four variants."""
    client.push("digits", checkpoint, {"all": data})
    client.optimize("digits")
    return "digits"
