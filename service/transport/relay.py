"""Passes calls of any kind on to control: raw bytes both ways, metadata, deadline, cancellation, status."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from service.errors import ControlAway
from service.transport.control_link import listens

# Set by each hop for itself; the rest of the metadata is the caller's.
_OF_THE_HOP = frozenset({"user-agent", "te", "content-type", "grpc-accept-encoding", "grpc-encoding"})


# Control's status follows grpc.aio's own report within this time.
_STATUS_SECONDS = 1.0

_Status = tuple[grpc.StatusCode, str, tuple[tuple[str, str | bytes], ...]]


class Relay:
    """A grpc.aio channel to control; for the event loop it is made in.

    A unary call is a stream of one message each way, so one way of passing on serves all four kinds.
    """

    def __init__(self, control: Path) -> None:
        self._control = control
        self._channel = grpc.aio.insecure_channel(
            f"unix:{control}",
            options=(
                ("grpc.max_receive_message_length", -1),
                ("grpc.max_send_message_length", -1),
                # Control that comes back is used at once.
                ("grpc.initial_reconnect_backoff_ms", 100),
                ("grpc.min_reconnect_backoff_ms", 100),
                ("grpc.max_reconnect_backoff_ms", 500),
                # A call is passed on once: control decides what may be repeated.
                ("grpc.enable_retries", 0),
            ),
        )

    async def pass_on(
        self, method: str, requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext
    ) -> AsyncIterator[bytes]:
        """Yields control's answers; ends with control's status, or UNAVAILABLE when control is away."""
        metadata = grpc.aio.Metadata(
            *((key, value) for key, value in context.invocation_metadata() or () if key not in _OF_THE_HOP)
        )
        call = self._channel.stream_stream(method)(requests, timeout=context.time_remaining(), metadata=metadata)
        ending = _Ending(call)
        try:
            try:
                initial = await call.initial_metadata()
                await context.send_initial_metadata(initial)
                async for answer in call:
                    yield answer
            except grpc.aio.AioRpcError:
                pass  # The status is read below.
            code, details, trailing = await ending.status()
            if code == grpc.StatusCode.OK:
                context.set_trailing_metadata(trailing)
                return
            if code == grpc.StatusCode.UNAVAILABLE and (
                details.startswith("failed to connect") or not listens(self._control)
            ):
                details = ControlAway.SENTENCE
            await context.abort(code, details, trailing)
        finally:
            # The caller has gone: so should the call to control.
            call.cancel()

    async def close(self) -> None:
        """Ends what is under way."""
        await self._channel.close()


class _Ending:
    """How a call to control ended, in control's words.

    A write to a call that control has just ended makes grpc.aio report an error of its own, before control's status or
    over it. So every report is looked at when it comes, and the first that is not grpc.aio's own counts.
    """

    def __init__(self, call: grpc.aio.StreamStreamCall) -> None:
        self._call = call
        self._known = asyncio.Event()
        self._status: _Status = (grpc.StatusCode.INTERNAL, "the control process ended this call without a status", ())
        call.add_done_callback(self._look)

    def _look(self, _: grpc.aio.StreamStreamCall) -> None:
        code, details = _at_once(self._call.code()), _at_once(self._call.details())
        if self._known.is_set() or (code == grpc.StatusCode.INTERNAL and details == "Internal error from Core"):
            return
        self._status = (code, details or "", tuple(_at_once(self._call.trailing_metadata()) or ()))
        self._known.set()

    async def status(self) -> _Status:
        """Code, details and trailing metadata; waits for them a moment."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._known.wait(), _STATUS_SECONDS)
        return self._status


def _at_once(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """The result of a coroutine that has nothing to wait for."""
    try:
        coroutine.send(None)
    except StopIteration as ended:
        return ended.value
    raise AssertionError("a call that has ended knows its status")
