"""The fronts under contract, each with a caller that speaks to it as a client does."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import grpc
import pytest

from service.transport.base import Call, Front, FrontOptions
from service.transport.choice import open_front
from service.transport.fake import FakeCall, FakeFront

SAY = "/test.Echo/Say"
SHOUT = "/test.Echo/Shout"
PATIENCE_SECONDS = 10.0


@dataclass(frozen=True)
class Outcome:
    status: grpc.StatusCode
    message: str
    payload: bytes


class Pending(Protocol):
    def outcome(self) -> Outcome: ...

    def cancel(self) -> None: ...

    def done(self) -> bool: ...


class _WirePending:
    def __init__(self, future: grpc.Future) -> None:
        self._future = future

    def outcome(self) -> Outcome:
        try:
            return Outcome(grpc.StatusCode.OK, "", self._future.result(PATIENCE_SECONDS))
        except grpc.FutureCancelledError:
            return Outcome(grpc.StatusCode.CANCELLED, "", b"")
        except grpc.RpcError as error:
            return Outcome(error.code(), error.details(), b"")

    def cancel(self) -> None:
        self._future.cancel()

    def done(self) -> bool:
        return bool(self._future.done())


class _FakePending:
    def __init__(self, call: FakeCall) -> None:
        self._call = call

    def outcome(self) -> Outcome:
        self._call.wait(PATIENCE_SECONDS)
        assert self._call.status is not None
        return Outcome(self._call.status, self._call.message, self._call.answer)

    def cancel(self) -> None:
        self._call.cancel()

    def done(self) -> bool:
        return self._call.status is not None


class Harness:
    """A front, a caller, and a thread that takes."""

    def __init__(self, front: Front, call: Callable[..., Pending]) -> None:
        self.front = front
        self.call = call

    def take(self, count: int = 1) -> list[Call]:
        """The next calls, exactly so many."""
        taken: list[Call] = []
        deadline = time.monotonic() + PATIENCE_SECONDS
        while len(taken) < count:
            assert time.monotonic() < deadline, "no call arrived in time"
            batch = self.front.take_batch(count - len(taken), PATIENCE_SECONDS)
            assert batch is not None
            taken += batch
        return taken

    def wait_cancelled(self, call: Call) -> None:
        """Takes until the call is known to be cancelled."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not call.cancelled and time.monotonic() < deadline:
            self.front.take_batch(1, 0.02)
        assert call.cancelled


def _wire_caller(port: int) -> tuple[grpc.Channel, Callable[..., Pending]]:
    channel = grpc.insecure_channel(f"127.0.0.1:{port}")

    def call(
        method: str, payload: bytes, metadata: tuple[tuple[str, str | bytes], ...] = (), timeout: float | None = None
    ) -> Pending:
        return _WirePending(channel.unary_unary(method).future(payload, metadata=metadata, timeout=timeout))

    return channel, call


@pytest.fixture(params=["native", "grpcio"])
def transport(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def open_wire(transport: str) -> Iterator[Callable[..., Harness]]:
    """Starts a front of the transport with the given options."""
    opened: list[tuple[Front, grpc.Channel]] = []

    def start(**options: object) -> Harness:
        front = open_front(transport, FrontOptions(methods=(SAY, SHOUT), **options))  # type: ignore[arg-type]
        front.start()
        channel, call = _wire_caller(front.port)
        opened.append((front, channel))
        return Harness(front, call)

    yield start
    for front, channel in opened:
        channel.close()
        front.close()


@pytest.fixture(params=["native", "grpcio", "fake"])
def harness(request: pytest.FixtureRequest) -> Iterator[Harness]:
    """A started front of each kind."""
    if request.param == "fake":
        fake = FakeFront()
        fake.start()

        def call(
            method: str,
            payload: bytes,
            metadata: tuple[tuple[str, str | bytes], ...] = (),
            timeout: float | None = None,
        ) -> Pending:
            made = FakeCall(method, payload, metadata, timeout)
            fake.put(made)
            return _FakePending(made)

        yield Harness(fake, call)
        fake.close()
        return
    front = open_front(request.param, FrontOptions(methods=(SAY, SHOUT)))
    front.start()
    channel, wire_call = _wire_caller(front.port)
    yield Harness(front, wire_call)
    channel.close()
    front.close()


class _Behind(grpc.GenericRpcHandler):  # type: ignore[misc]
    """A server behind a front: echoes each message with "!", then says what metadata and time it was given."""

    def __init__(self) -> None:
        self.cancelled = threading.Event()

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        method = handler_call_details.method
        if method == "/test.Behind/Missing":
            return None
        if method == "/test.Behind/Fail":
            return grpc.unary_unary_rpc_method_handler(self._fail)
        if method == "/test.Behind/Hang":
            return grpc.unary_unary_rpc_method_handler(self._hang)
        if method == "/test.Behind/Refuse":
            return grpc.stream_unary_rpc_method_handler(self._refuse)
        if method == "/test.Behind/Count":
            return grpc.stream_unary_rpc_method_handler(
                lambda requests, _: str(sum(len(request) for request in requests)).encode()
            )
        return grpc.stream_stream_rpc_method_handler(self._echo)

    def _echo(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> Iterator[bytes]:
        context.send_initial_metadata((("first", "1"),))
        for request in requests:
            yield request + b"!"
        given = dict(context.invocation_metadata())
        context.set_trailing_metadata((("last-bin", given.get("asked-bin", b"")),))
        yield f"{given.get('asked')} {context.time_remaining() is not None}".encode()

    def _fail(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        context.set_trailing_metadata((("why", "because"),))
        context.abort(grpc.StatusCode.ALREADY_EXISTS, "there is one")
        raise AssertionError

    def _refuse(self, requests: Iterator[bytes], context: grpc.ServicerContext) -> bytes:
        next(requests)
        context.abort(grpc.StatusCode.INVALID_ARGUMENT, "enough")
        raise AssertionError

    def _hang(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        context.add_callback(self.cancelled.set)
        self.cancelled.wait(PATIENCE_SECONDS)
        return b""


class Control:
    """A gRPC server on control's socket that can go away and come back."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self.behind = _Behind()
        self._server: grpc.Server | None = None

    def start(self) -> None:
        self._server = grpc.server(futures.ThreadPoolExecutor(4), handlers=(self.behind,))
        self._server.add_insecure_port(f"unix:{self.socket}")
        self._server.start()

    def stop(self) -> None:
        if self._server is not None:
            self._server.stop(None).wait()
            self._server = None


@pytest.fixture
def control(tmp_path: Path) -> Iterator[Control]:
    made = Control(tmp_path / "control.sock")
    yield made
    made.stop()
