"""A front without a network: tests put calls in and read the answers."""

import threading
import time
from collections import deque
from collections.abc import Sequence

import grpc

from service.transport.base import Call, Metadata, shorten


class FakeCall:
    """A call and, later, its answer."""

    def __init__(
        self, method: str, payload: bytes, metadata: Metadata = (), timeout_seconds: float | None = None
    ) -> None:
        self.method = method
        self.payload = payload
        self.metadata = metadata
        self.deadline_ns = None if timeout_seconds is None else time.monotonic_ns() + int(timeout_seconds * 1e9)
        self.status: grpc.StatusCode | None = None
        self.message = ""
        self.answer = b""
        self._lock = threading.Lock()
        self._answered = threading.Event()

    @property
    def cancelled(self) -> bool:
        """See Call."""
        return self.status is grpc.StatusCode.CANCELLED

    def reply(self, payload: bytes) -> bool:
        """See Call."""
        return self._settle(grpc.StatusCode.OK, "", payload)

    def fail(self, status: grpc.StatusCode, message: str) -> bool:
        """See Call."""
        return self._settle(status, shorten(message), b"")

    def cancel(self) -> None:
        """The caller goes away."""
        self._settle(grpc.StatusCode.CANCELLED, "cancelled by the caller", b"")

    def wait(self, timeout_seconds: float = 10.0) -> "FakeCall":
        """Waits for the answer. Raises TimeoutError."""
        if not self._answered.wait(timeout_seconds):
            raise TimeoutError(f"no answer to {self.method}")
        return self

    def _settle(self, status: grpc.StatusCode, message: str, answer: bytes) -> bool:
        with self._lock:
            if self.status is not None:
                return False
            self.status, self.message, self.answer = status, message, answer
        self._answered.set()
        return True


class FakeFront:
    """The transport port over a deque."""

    port = 0

    def __init__(self) -> None:
        self._arrived: deque[FakeCall] = deque()
        self._change = threading.Condition()
        self._closed = False

    def start(self) -> None:
        """See Front."""

    def put(self, *calls: FakeCall) -> None:
        """Calls arrive, all at once."""
        with self._change:
            self._arrived.extend(calls)
            self._change.notify()

    def take_batch(self, most: int, timeout_seconds: float | None = None) -> Sequence[Call] | None:
        """See Front."""
        with self._change:
            self._change.wait_for(lambda: self._arrived or self._closed, timeout_seconds)
            if self._closed:
                return None
            return [self._arrived.popleft() for _ in range(min(most, len(self._arrived)))]

    def close(self) -> None:
        """See Front."""
        with self._change:
            self._closed = True
            self._change.notify_all()
            waiting, self._arrived = list(self._arrived), deque()
        for call in waiting:
            call.fail(grpc.StatusCode.UNAVAILABLE, "the server is shutting down")
