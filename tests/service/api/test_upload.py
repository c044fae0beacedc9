"""UploadService over its socket."""

import hashlib
import threading
from collections.abc import Iterator

import grpc
import pytest

from service.api.upload import STALLED_SECONDS, UploadServicer
from service.control import Control
from service.uploads.receiver import Chunk, Progress
from service.wire.stillroom.v1 import upload_service_pb2 as wire
from service.wire.stillroom.v1.upload_service_pb2_grpc import UploadServiceStub

DATA = bytes(range(251)) * 40_000
SHA = hashlib.sha256(DATA).hexdigest()


def requests(upload_id: str, data: bytes, start: int = 0, size: int = 1 << 20) -> Iterator[wire.WriteUploadRequest]:
    for offset in range(start, len(data), size):
        yield wire.WriteUploadRequest(upload_id=upload_id, offset=offset, data=data[offset : offset + size])


@pytest.fixture
def stub(channel: grpc.Channel) -> UploadServiceStub:
    return UploadServiceStub(channel)


def begun(stub: UploadServiceStub) -> wire.Upload:
    return stub.CreateUpload(wire.CreateUploadRequest(sha256=SHA, size_bytes=len(DATA))).upload


def test_a_stream_becomes_a_blob(stub: UploadServiceStub) -> None:
    upload = begun(stub)
    done = stub.WriteUpload(requests(upload.upload_id, DATA)).upload
    assert done.complete
    assert stub.GetUpload(wire.GetUploadRequest(upload_id=upload.upload_id)).upload == done
    assert begun(stub).complete


def test_a_truncated_stream_can_be_resumed(stub: UploadServiceStub) -> None:
    upload = begun(stub)
    half = stub.WriteUpload(requests(upload.upload_id, DATA[: 3 << 20])).upload
    assert (half.complete, half.received_bytes) == (False, 3 << 20)
    assert stub.WriteUpload(requests(upload.upload_id, DATA, 3 << 20)).upload.complete


def test_a_client_that_goes_away_leaves_what_arrived(stub: UploadServiceStub) -> None:
    upload = begun(stub)
    hold, sent = threading.Event(), threading.Event()

    def until_cancelled() -> Iterator[wire.WriteUploadRequest]:
        yield from requests(upload.upload_id, DATA[: 2 << 20])
        sent.set()
        hold.wait(20)

    call = stub.WriteUpload.future(until_cancelled())
    assert sent.wait(10)
    call.cancel()
    hold.set()
    # Whatever had arrived is whole messages; it goes on from there as soon as the server has seen its writer leave.
    pause = threading.Event()
    for _ in range(500):
        received = stub.GetUpload(wire.GetUploadRequest(upload_id=upload.upload_id)).upload.received_bytes
        rest = stub.WriteUpload.future(requests(upload.upload_id, DATA, received))
        if rest.exception() is None:
            break
        assert rest.code() in (grpc.StatusCode.ABORTED, grpc.StatusCode.FAILED_PRECONDITION)
        pause.wait(0.02)
    assert rest.result().upload.complete


@pytest.mark.parametrize(
    ("data", "status", "message"),
    [
        (DATA[::-1], grpc.StatusCode.INVALID_ARGUMENT, "dropped"),
        (DATA + b"x", grpc.StatusCode.INVALID_ARGUMENT, "more bytes than"),
    ],
)
def test_wrong_bytes_have_a_status_and_a_sentence(
    stub: UploadServiceStub, data: bytes, status: grpc.StatusCode, message: str
) -> None:
    upload = begun(stub)
    with pytest.raises(grpc.RpcError) as failure:
        stub.WriteUpload(requests(upload.upload_id, data))
    assert failure.value.code() is status
    assert message in failure.value.details()


def test_a_wrong_offset_names_the_right_one(stub: UploadServiceStub) -> None:
    upload = begun(stub)
    stub.WriteUpload(requests(upload.upload_id, DATA[: 1 << 20]))
    with pytest.raises(grpc.RpcError) as failure:
        stub.WriteUpload(requests(upload.upload_id, DATA))
    assert failure.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert f"go on from offset {1 << 20}" in failure.value.details()


def test_a_file_too_large_names_the_limit(stub: UploadServiceStub) -> None:
    with pytest.raises(grpc.RpcError) as failure:
        stub.CreateUpload(wire.CreateUploadRequest(sha256=SHA, size_bytes=65 << 20))
    assert failure.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "max_upload_bytes = 67108864" in failure.value.details()


def test_two_writers_at_once(stub: UploadServiceStub) -> None:
    upload = begun(stub)
    first_sent, go_on = threading.Event(), threading.Event()

    def slow() -> Iterator[wire.WriteUploadRequest]:
        yield from requests(upload.upload_id, DATA[: 1 << 20])
        first_sent.set()
        assert go_on.wait(20)
        yield from requests(upload.upload_id, DATA, 1 << 20)

    call = stub.WriteUpload.future(slow())
    assert first_sent.wait(10)
    pause = threading.Event()
    for _ in range(500):  # Until the first writer's first message has arrived.
        if stub.GetUpload(wire.GetUploadRequest(upload_id=upload.upload_id)).upload.received_bytes:
            break
        pause.wait(0.01)
    with pytest.raises(grpc.RpcError) as failure:
        stub.WriteUpload(requests(upload.upload_id, DATA))
    assert failure.value.code() is grpc.StatusCode.ABORTED
    go_on.set()
    assert call.result(20).upload.complete


class _Context:
    """Only what the servicer asks of a call."""

    def __init__(self) -> None:
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class _Receiving:
    """A receiver that looks at the clock between two chunks."""

    def __init__(self) -> None:
        self.between = lambda: None

    def receive(self, tenant: str, chunks: Iterator[Chunk]) -> Progress:
        for _ in chunks:
            self.between()
        return Progress("id", SHA, 0, 0, complete=True)


def test_only_streams_that_bring_nothing_are_ended() -> None:
    now = [0.0]
    receiver, context = _Receiving(), _Context()
    servicer = UploadServicer(receiver, clock=lambda: now[0])  # type: ignore[arg-type]
    ended = []

    def pass_time() -> None:
        now[0] += STALLED_SECONDS - 1
        ended.append(servicer.cancel_stalled())

    receiver.between = pass_time
    servicer.WriteUpload(iter([wire.WriteUploadRequest()] * 3), context)  # type: ignore[arg-type]
    assert (ended, context.cancelled) == ([0, 0, 0], False)

    def stall() -> None:
        now[0] += STALLED_SECONDS + 1
        ended.append(servicer.cancel_stalled())

    receiver.between = stall
    servicer.WriteUpload(iter([wire.WriteUploadRequest()]), context)  # type: ignore[arg-type]
    assert (ended[-1], context.cancelled) == (1, True)
    assert servicer.cancel_stalled() == 0


def test_there_is_room_for_so_many_streams(
    control: Control, stub: UploadServiceStub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.api.upload.MAX_STREAMS", 0)
    upload = begun(stub)
    with pytest.raises(grpc.RpcError) as failure:
        stub.WriteUpload(requests(upload.upload_id, DATA))
    assert failure.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
