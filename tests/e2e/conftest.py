"""A real server in its own processes, and a small model trained for the occasion."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

_COMMAND = [sys.executable, "-c", "from service.cli import main; main()"]
_ROOT = Path(__file__).resolve().parents[2]


def wait_until(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    """The condition's first true value. Fails after so many seconds, naming what was waited for."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not (value := condition()):
        if time.monotonic() > deadline:
            pytest.fail(f"no {what} after {seconds} s")
        pause.wait(0.02)
    return value


class Server:
    """`stillroom serve` on free ports over one home, which it keeps through any number of starts."""

    def __init__(self, home: Path, ports: tuple[int, int, int]) -> None:
        self.home = home
        self.grpc_port, self.http_port, self.metrics_port = ports
        self.log = home.with_suffix(".log")
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def address(self) -> str:
        """host:port of gRPC."""
        return f"127.0.0.1:{self.grpc_port}"

    def start(self) -> float:
        """Starts all roles and returns after how many seconds the engine was live."""
        began = time.monotonic()
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *_COMMAND,
                    "serve",
                    *("--home", str(self.home)),
                    *("--grpc-port", str(self.grpc_port)),
                    *("--http-port", str(self.http_port)),
                    *("--metrics-port", str(self.metrics_port)),
                ],
                cwd=_ROOT,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.until(self._is_live, 30, "live server")
        seconds = time.monotonic() - began
        self.until(self.is_ready, 30, "ready server")
        return seconds

    def kill(self) -> None:
        """SIGKILL to every process of the server at once, as a power cut would."""
        assert self._process is not None
        everyone = [psutil.Process(self._process.pid), *psutil.Process(self._process.pid).children(recursive=True)]
        for process in everyone:
            process.suspend()
        for process in everyone:
            process.kill()
        self._process.wait(10)
        _, alive = psutil.wait_procs(everyone[1:], 10)
        assert not alive

    def stop(self) -> int:
        """SIGTERM, as an operator would; the exit status."""
        assert self._process is not None
        everyone = psutil.Process(self._process.pid).children(recursive=True)
        self._process.send_signal(signal.SIGTERM)
        status = self._process.wait(60)
        _, alive = psutil.wait_procs(everyone, 10)
        for process in alive:
            process.kill()
        assert not alive, "the supervisor left processes behind"
        return status

    def is_ready(self) -> bool:
        """Whether /readyz on the metrics port says so."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def metrics(self) -> str:
        """One scrape."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=5) as answer:
            text: str = answer.read().decode()
            return text

    def client(self) -> triton.InferenceServerClient:
        """A stock Triton client."""
        return triton.InferenceServerClient(self.address)

    def until(self, condition: Callable[[], Any], seconds: float, what: str) -> Any:
        """The condition's first true value; fails, with the server's log, when there is none in time."""
        return wait_until(condition, seconds, f"{what} (see {self.log})")

    def run(self, *arguments: str, status: int = 0) -> subprocess.CompletedProcess[str]:
        """Runs a `stillroom` command against this server and checks its exit status."""
        done = subprocess.run(
            [*_COMMAND, *arguments],
            cwd=_ROOT,
            env={**os.environ, "STILLROOM_SERVER": self.address, "NO_COLOR": "1", "COLUMNS": "200"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=170,
            check=False,
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done

    def json(self, *arguments: str) -> Any:
        """Runs a command with --json and reads what it prints."""
        return json.loads(self.run(*arguments, "--json").stdout)

    def _is_live(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self.log.read_text()[-4000:]
        try:
            return bool(self.client().is_server_live(client_timeout=1))
        except InferenceServerException:
            return False


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A running server with an empty home; it must end cleanly when the module's tests are over."""
    with socket.socket() as a, socket.socket() as b, socket.socket() as c:
        for probe in (a, b, c):
            probe.bind(("127.0.0.1", 0))
        ports = (a.getsockname()[1], b.getsockname()[1], c.getsockname()[1])
    started = Server(tmp_path_factory.mktemp("e2e") / "home", ports)
    started.start()
    try:
        yield started
    except BaseException:
        started.kill()
        raise
    assert started.stop() == 0


def gratings(rows: int, seed: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Pictures [rows, 1, 24, 24] of stripes in four directions under noise, and their labels."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, 4, rows)
    angle = labels * np.pi / 4
    y, x = np.mgrid[0:24, 0:24]
    along = np.cos(angle)[:, None, None] * x + np.sin(angle)[:, None, None] * y
    phase = random.uniform(0, 2 * np.pi, (rows, 1, 1))
    images = np.sin(along * 1.2 + phase) + random.normal(0, 2.5, (rows, 24, 24))
    return images[:, None].astype(np.float32), labels.astype(np.int64)


@pytest.fixture(scope="session")
def resnet(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(checkpoint directory, data file): a small Hugging Face ResNet, trained for a few seconds, and fresh data."""
    import torch
    from transformers import ResNetConfig, ResNetForImageClassification

    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = ResNetForImageClassification(
        ResNetConfig(
            num_channels=1,
            embedding_size=64,
            hidden_sizes=[64, 128],
            depths=[1, 1],
            layer_type="basic",
            num_labels=4,
        )
    )
    images, labels = (torch.from_numpy(array) for array in gratings(1500, seed=1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    model.train()
    for rows in torch.randperm(len(images)).split(50) + torch.randperm(len(images)).split(50):
        loss = model(pixel_values=images[rows], labels=labels[rows]).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    folder = tmp_path_factory.mktemp("resnet")
    model.eval().save_pretrained(folder / "checkpoint")
    images_of_data, labels_of_data = gratings(1500, seed=2)
    np.savez(folder / "data.npz", pixel_values=images_of_data, labels=labels_of_data)
    return folder / "checkpoint", folder / "data.npz"
