"""The native front: HTTP/2 and gRPC in Rust, outside the GIL; calls reach Python many at a time."""

import contextlib
import time
from collections.abc import Sequence

import grpc
from pygrpc_native import EVENT_CALL, NativeGrpcFront

from service.errors import FailedPrecondition
from service.transport.base import Call, FrontOptions, Metadata, shorten, too_large
from service.transport.control_link import ControlLink

# Answers that are already given get this long to leave when the front closes.
_FLUSH_SECONDS = 0.3


class NativeCall:
    """A call of the native front, known there by a number."""

    __slots__ = ("_front", "_id", "cancelled", "deadline_ns", "metadata", "method", "payload")

    def __init__(
        self,
        front: "NativeFront",
        call_id: int,
        method: str,
        payload: bytes,
        metadata: Metadata,
        deadline_ns: int | None,
    ) -> None:
        self._front = front
        self._id = call_id
        self.method = method
        self.payload = payload
        self.metadata = metadata
        self.deadline_ns = deadline_ns
        self.cancelled = False

    def reply(self, payload: bytes) -> bool:
        """See Call."""
        return self._front.respond(self._id, payload)

    def fail(self, status: grpc.StatusCode, message: str) -> bool:
        """See Call."""
        return self._front.fail(self._id, status.value[0], shorten(message))


class NativeFront:
    """The transport port on pygrpc-native.

    It bounds no message before it has arrived and unpacks gzip without a cap: `max_message_bytes` is checked here,
    after receipt. On a network where that matters a proxy that caps stands before it, or grpcio takes its place.
    """

    def __init__(self, options: FrontOptions) -> None:
        self._options = options
        # Unanswered calls that Python has seen; a cancellation finds its call here. Entries are added by the taking
        # thread and removed by whichever answers: single dict operations, atomic under the GIL.
        self._calls: dict[int, NativeCall] = {}
        self._link: ControlLink | None = None
        self._last_answer = -_FLUSH_SECONDS
        try:
            # Without SO_REUSEPORT binding fails when anybody else listens here, also a leftover of ours.
            self._native = NativeGrpcFront(
                options.target,
                [(method, False) for method in options.methods],
                io_threads=options.io_threads,
                call_details=True,
            )
        except OSError as error:
            raise FailedPrecondition(f"cannot listen on {error.strerror}") from error

    @property
    def port(self) -> int:
        """See Front."""
        return int(self._native.bound_port)

    def start(self) -> None:
        """See Front."""
        if self._options.fallback is not None:
            self._link = ControlLink(self._options.fallback, name=f"front-{self.port}.sock")
            self._link.start()
            self._native.set_fallback(str(self._link.path))
        self._native.start()

    def take_batch(self, most: int, timeout_seconds: float | None = None) -> Sequence[Call] | None:
        """See Front."""
        timeout_ms = None if timeout_seconds is None else int(timeout_seconds * 1000)
        events = self._native.recv_batch_details(most, timeout_ms)
        if events is None:
            return None
        methods, limit, waiting = self._options.methods, self._options.max_message_bytes, self._calls
        now_ns = time.monotonic_ns()
        calls: list[Call] = []
        for kind, call_id, method_id, payload, _, details in events:
            if kind != EVENT_CALL or payload is None or details is None:
                if (gone := waiting.pop(call_id, None)) is not None:
                    gone.cancelled = True
                continue
            metadata, _, remaining = details
            if len(payload) > limit:
                self._native.fail(call_id, grpc.StatusCode.RESOURCE_EXHAUSTED.value[0], too_large(len(payload), limit))
                continue
            deadline_ns = None if remaining is None else now_ns + int(remaining * 1e9)
            call = NativeCall(self, call_id, methods[method_id], payload, metadata, deadline_ns)
            waiting[call_id] = call
            calls.append(call)
        return calls

    def respond(self, call_id: int, payload: bytes) -> bool:
        """Answers a call by its number; any thread."""
        self._calls.pop(call_id, None)
        self._last_answer = time.monotonic()
        return bool(self._native.respond(call_id, payload))

    def fail(self, call_id: int, code: int, message: str) -> bool:
        """Fails a call by its number; any thread."""
        self._calls.pop(call_id, None)
        return bool(self._native.fail(call_id, code, message))

    def close(self) -> None:
        """See Front."""
        # Closing cuts connections at once, and nothing says whether an answer has left.
        time.sleep(max(0.0, self._last_answer + _FLUSH_SECONDS - time.monotonic()))
        self._native.close()
        if self._link is not None:
            with contextlib.suppress(OSError):
                self._link.close()
