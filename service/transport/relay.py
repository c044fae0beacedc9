"""Passes calls of any kind on to control: raw bytes both ways, metadata, deadline, cancellation, status."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import grpc.aio

from service.transport.base import CONTROL_AWAY
from service.transport.control_link import listens

# Set by each hop for itself; the rest of the metadata is the caller's.
_OF_THE_HOP = frozenset({"user-agent", "te", "content-type", "grpc-accept-encoding", "grpc-encoding"})


_STATUS_TRIES = 50
_STATUS_PAUSE_SECONDS = 0.01


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
        try:
            try:
                initial = await call.initial_metadata()
                await context.send_initial_metadata(initial)
                async for answer in call:
                    yield answer
            except grpc.aio.AioRpcError:
                pass  # The status is read below.
            code, details = await _status(call)
            if code == grpc.StatusCode.OK:
                context.set_trailing_metadata(tuple(await call.trailing_metadata() or ()))
                return
            if code == grpc.StatusCode.UNAVAILABLE and (
                details.startswith("failed to connect") or not listens(self._control)
            ):
                details = CONTROL_AWAY
            await context.abort(code, details, tuple(await call.trailing_metadata() or ()))
        finally:
            # The caller has gone: so should the call to control.
            call.cancel()

    async def close(self) -> None:
        """Ends what is under way."""
        await self._channel.close()


async def _status(call: grpc.aio.StreamStreamCall) -> tuple[grpc.StatusCode, str]:
    """How the call ended. A write to a call that control has just ended makes grpc.aio report an error of its own until
    control's status arrives, which then takes its place."""
    for _ in range(_STATUS_TRIES):
        code, details = await call.code(), await call.details()
        if code != grpc.StatusCode.INTERNAL or details != "Internal error from Core":
            break
        await asyncio.sleep(_STATUS_PAUSE_SECONDS)
    return code, details or ""
