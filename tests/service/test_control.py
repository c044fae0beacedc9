"""A control process of its own: killed in the middle of uploads, started twice, stopped in order."""

import hashlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import grpc
import pytest

from service.home import Home
from service.settings import ControlSettings
from service.wire.stillroom.v1 import model_service_pb2, upload_service_pb2
from service.wire.stillroom.v1.model_service_pb2_grpc import ModelServiceStub
from service.wire.stillroom.v1.upload_service_pb2_grpc import UploadServiceStub

DATA = os.urandom(1 << 20) * 24
SHA = hashlib.sha256(DATA).hexdigest()
PIECE = 1 << 18


@pytest.fixture
def start(home: Home) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Starts a control process on the home; what still runs at the end is killed."""
    settings = ControlSettings(home=home.root, http_port=0, metrics_port=0).model_dump_json()
    running: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        command = [sys.executable, "-W", "error", "-m", "service.control", settings]
        running.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
        return running[-1]

    yield start
    for process in running:
        process.kill()
        process.communicate(timeout=10)


@contextmanager
def uploads(home: Home) -> Iterator[UploadServiceStub]:
    options = (("grpc.max_reconnect_backoff_ms", 100), ("grpc.use_local_subchannel_pool", 1))
    with grpc.insecure_channel(f"unix:{home.control_socket}", options=options) as channel:
        grpc.channel_ready_future(channel).result(timeout=30)
        yield UploadServiceStub(channel)


def pieces(
    upload_id: str, start: int, pause: Callable[[int], None] = lambda _offset: None
) -> Iterator[upload_service_pb2.WriteUploadRequest]:
    for offset in range(start, len(DATA), PIECE):
        pause(offset)
        yield upload_service_pb2.WriteUploadRequest(
            upload_id=upload_id, offset=offset, data=DATA[offset : offset + PIECE]
        )


def received(stub: UploadServiceStub, upload_id: str) -> int:
    request = upload_service_pb2.GetUploadRequest(upload_id=upload_id)
    return int(stub.GetUpload(request, wait_for_ready=True, timeout=30).upload.received_bytes)


def test_nothing_that_was_acknowledged_is_lost_by_kills(home: Home, start: Callable[[], subprocess.Popen[str]]) -> None:
    process = start()
    with uploads(home) as stub:
        request = upload_service_pb2.CreateUploadRequest(sha256=SHA, size_bytes=len(DATA))
        upload_id = stub.CreateUpload(request).upload.upload_id
    begin = 0
    for share in (0.2, 0.6):
        goal, reached, never = int(share * len(DATA)), threading.Event(), threading.Event()

        def pause(
            offset: int, goal: int = goal, reached: threading.Event = reached, never: threading.Event = never
        ) -> None:
            if offset >= goal:
                reached.set()
                never.wait(20)

        with uploads(home) as stub:
            call = stub.WriteUpload.future(pieces(upload_id, begin, pause))
            assert reached.wait(20)
            acknowledged = received(stub, upload_id)
            process.kill()
            process.communicate(timeout=10)
            never.set()
            assert call.exception(20) is not None
        process = start()
        with uploads(home) as stub:
            begin = received(stub, upload_id)
        assert begin >= acknowledged
    with uploads(home) as stub:
        assert stub.WriteUpload(pieces(upload_id, begin)).upload.complete
    assert (home.blobs / SHA[:2] / SHA).read_bytes() == DATA
    process.terminate()
    assert process.wait(15) == 0
    assert list(home.uploads.iterdir()) == []


def test_a_second_one_is_refused_and_the_first_goes_on(home: Home, start: Callable[[], subprocess.Popen[str]]) -> None:
    first = start()
    with uploads(home):
        second = start()
        _, errors = second.communicate(timeout=20)
        assert second.returncode == 1
        assert errors.strip().endswith("is already running")
        with grpc.insecure_channel(f"unix:{home.control_socket}") as channel:
            assert not ModelServiceStub(channel).ListModels(model_service_pb2.ListModelsRequest(), timeout=10).models
    first.send_signal(signal.SIGINT)
    assert first.wait(15) == 0


def test_what_cannot_start_says_why_in_one_line(home: Home, start: Callable[[], subprocess.Popen[str]]) -> None:
    (home.root / "registry.sqlite3").write_bytes(b"somebody's diary" * 1000)
    process = start()
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 1
    assert errors.startswith("cannot open the registry")
    assert "Traceback" not in errors
