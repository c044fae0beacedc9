"""EngineService: what control may ask of an engine, on a Unix socket that only its own user can open."""

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
from prometheus_client import CollectorRegistry, generate_latest

from service.errors import ServiceError, Unavailable
from service.inference.roster import Roster
from service.models.desired import save
from service.wire.stillroom.internal.v1 import engine_service_pb2 as wire
from service.wire.stillroom.internal.v1 import engine_service_pb2_grpc as wire_grpc

# One control watches; a few stale watchers of a control that was killed must not keep a new one out.
_THREADS = 8


class Changes:
    """Counts changes, and wakes those that wait for the next one."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._count = 0

    def notify(self) -> None:
        """Something has changed, or a waiter shall look again whether it is still wanted."""
        with self._condition:
            self._count += 1
            self._condition.notify_all()

    @property
    def count(self) -> int:
        """Changes so far."""
        return self._count

    def wait_beyond(self, count: int) -> int:
        """Waits until there were more changes than `count`; how many there are."""
        with self._condition:
            self._condition.wait_for(lambda: self._count > count)
            return self._count


class EngineServicer(wire_grpc.EngineServiceServicer):
    """See protos/stillroom/internal/v1/engine_service.proto."""

    def __init__(self, roster: Roster, changes: Changes, registry: CollectorRegistry, table: Path) -> None:
        self._roster = roster
        self._changes = changes
        self._registry = registry
        self._table = table
        self._saving = threading.Lock()
        self._stopped = False

    def Apply(self, request: wire.ApplyRequest, context: grpc.ServicerContext) -> wire.ApplyResponse:  # noqa: N802
        """Takes over a newer desired state and keeps a copy; an older one changes nothing."""
        try:
            with self._saving:
                if self._roster.apply(request.desired):
                    _save(request.desired, self._table)
        except ServiceError as error:
            context.abort(error.status, str(error))
        return wire.ApplyResponse(state=self._roster.state())

    def Watch(self, request: wire.WatchRequest, context: grpc.ServicerContext) -> Iterator[wire.WatchResponse]:  # noqa: N802
        """The state now, and again whenever it has changed."""
        context.add_callback(self._changes.notify)
        last: wire.EngineState | None = None
        while context.is_active() and not self._stopped:
            seen = self._changes.count
            state = self._roster.state()
            if state != last:
                yield wire.WatchResponse(state=state)
                last = state
            self._changes.wait_beyond(seen)

    def Scrape(self, request: wire.ScrapeRequest, context: grpc.ServicerContext) -> wire.ScrapeResponse:  # noqa: N802
        """Prometheus text."""
        return wire.ScrapeResponse(text=generate_latest(self._registry))

    def stop(self) -> None:
        """Ends the watches."""
        self._stopped = True
        self._changes.notify()


def _save(desired: wire.DesiredState, path: Path) -> None:
    try:
        save(desired, path)
    except OSError as error:
        raise Unavailable(f"the desired state is applied, but cannot be kept on disk: {error.strerror}") from error


def serve(servicer: EngineServicer, socket: Path) -> grpc.Server:
    """Listens on `socket`, replacing one that a killed process left."""
    server = grpc.server(
        ThreadPoolExecutor(_THREADS, "engine-service"), options=(("grpc.max_receive_message_length", -1),)
    )
    wire_grpc.add_EngineServiceServicer_to_server(servicer, server)
    socket.unlink(missing_ok=True)
    server.add_insecure_port(f"unix:{socket}")
    os.chmod(socket, 0o600)
    server.start()
    return server
