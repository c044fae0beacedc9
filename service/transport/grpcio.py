"""The grpcio front: the same port where the native front cannot be had, or where grpcio's own limits are wanted.

One thread runs grpc.aio's event loop; a waiting call is a future there, not a blocked thread.
"""

import asyncio
import threading
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import grpc
import grpc.aio

from service.errors import FailedPrecondition
from service.transport.base import Call, FrontOptions, Metadata, shorten, too_large
from service.transport.relay import Relay

_LARGEST_MESSAGE_BYTES = 2**31 - 1
# Answers that are already given get this long to leave when the front closes.
_FLUSH_SECONDS = 0.5

_Answer = bytes | tuple[grpc.StatusCode, str]


class GrpcioCall:
    """A call that a coroutine waits for."""

    def __init__(
        self,
        method: str,
        payload: bytes,
        metadata: Metadata,
        deadline_ns: int | None,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.method = method
        self.payload = payload
        self.metadata = metadata
        self.deadline_ns = deadline_ns
        self.answer: asyncio.Future[_Answer] = loop.create_future()
        self._loop = loop
        self._lock = threading.Lock()
        self._open = True

    @property
    def cancelled(self) -> bool:
        """See Call."""
        return self.answer.cancelled()

    def reply(self, payload: bytes) -> bool:
        """See Call."""
        return self._answer(payload)

    def fail(self, status: grpc.StatusCode, message: str) -> bool:
        """See Call."""
        return self._answer((status, shorten(message)))

    def _answer(self, answer: _Answer) -> bool:
        with self._lock:
            first, self._open = self._open, False
        if not first or self.answer.cancelled():
            return False
        try:
            self._loop.call_soon_threadsafe(self._settle, answer)
        except RuntimeError:  # The loop has ended: the front was closed.
            return False
        return True

    def _settle(self, answer: _Answer) -> None:
        if not self.answer.done():
            self.answer.set_result(answer)


class _Handlers(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpcio has no types
    """Calls of the front's own methods go to `serve`; all others to `relay`."""

    def __init__(
        self,
        methods: Sequence[str],
        serve: Callable[[str, bytes, grpc.aio.ServicerContext], Awaitable[bytes]],
        relay: Relay | None,
    ) -> None:
        self._own = {method: grpc.unary_unary_rpc_method_handler(partial(serve, method)) for method in methods}
        self._relay = relay

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        """The handler for a method; None: UNIMPLEMENTED."""
        method: str = handler_call_details.method
        own = self._own.get(method)
        if own is not None or self._relay is None:
            return own
        return grpc.stream_stream_rpc_method_handler(partial(self._relay.pass_on, method))


class GrpcioFront:
    """The transport port on grpc.aio."""

    def __init__(self, options: FrontOptions) -> None:
        self._options = options
        self._port = options.port
        self._arrived: deque[GrpcioCall] = deque()
        self._change = threading.Condition()
        self._closed = False
        self._started: threading.Event = threading.Event()
        self._failure: FailedPrecondition | None = None
        self._loop = asyncio.new_event_loop()
        self._stop: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name="grpcio-front", daemon=True)

    @property
    def port(self) -> int:
        """See Front."""
        return self._port

    def start(self) -> None:
        """See Front."""
        self._thread.start()
        self._started.wait()
        if self._failure is not None:
            self._thread.join()
            raise self._failure

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
        if self._thread.is_alive():
            if self._stop is not None:
                self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()
        elif not self._loop.is_closed():
            self._loop.close()

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._started.set()
            self._loop.close()

    async def _serve(self) -> None:
        self._stop = asyncio.Event()
        relay = None if self._options.fallback is None else Relay(self._options.fallback)
        # grpcio refuses a message above its limit in words that name no setting of ours. Up to twice the limit is let
        # in, to be refused here with a sentence; memory stays bounded.
        let_in = min(2 * self._options.max_message_bytes, _LARGEST_MESSAGE_BYTES)
        server = grpc.aio.server(
            handlers=(_Handlers(self._options.methods, self._handle, relay),),
            options=(
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", let_in),
                ("grpc.max_send_message_length", -1),
            ),
        )
        try:
            self._port = server.add_insecure_port(self._options.target)
        except RuntimeError:
            self._failure = FailedPrecondition(
                f"cannot listen on {self._options.target}: the address is in use or not of this machine"
            )
            return
        await server.start()
        self._started.set()
        await self._stop.wait()
        await server.stop(_FLUSH_SECONDS)
        if relay is not None:
            await relay.close()

    async def _handle(self, method: str, payload: bytes, context: grpc.aio.ServicerContext) -> bytes:
        limit = self._options.max_message_bytes
        if len(payload) > limit:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, too_large(len(payload), limit))
        remaining = context.time_remaining()
        deadline_ns = None if remaining is None else time.monotonic_ns() + int(remaining * 1e9)
        metadata = tuple((key, value) for key, value in context.invocation_metadata() or ())
        call = GrpcioCall(method, payload, metadata, deadline_ns, self._loop)
        with self._change:
            self._arrived.append(call)
            self._change.notify()
        # A caller that goes away cancels this coroutine, and with it the future that `cancelled` looks at.
        answer = await call.answer
        if isinstance(answer, bytes):
            return answer
        await context.abort(*answer)
        raise AssertionError("abort always raises")
