"""An engine that loads nothing: serves EngineService on a socket and says what it is told to say."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc

from service.wire.stillroom.internal.v1 import engine_service_pb2 as wire
from service.wire.stillroom.internal.v1 import engine_service_pb2_grpc as wire_grpc


class FakeEngine(wire_grpc.EngineServiceServicer):
    """Holds what it is given as READY at once, except the variants in `failing`, and applies every split.

    While `deaf`, it loads and applies nothing. Thread-safe.
    """

    def __init__(self, socket: Path, engine_id: str, metrics: bytes = b"", told_before: int = 0) -> None:
        self.failing: dict[str, str] = {}
        self.deaf = False
        self.desired = wire.DesiredState(version=told_before)
        self.applies = 0
        self._engine_id = engine_id
        self._metrics = metrics
        self._changed = threading.Condition()
        self._stopping = False
        self._server = grpc.server(ThreadPoolExecutor(max_workers=8))
        wire_grpc.add_EngineServiceServicer_to_server(self, self._server)
        self._server.add_insecure_port(f"unix:{socket}")

    def start(self) -> None:
        """Begins to answer."""
        self._server.start()

    def stop(self) -> None:
        """Hangs up on everybody."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        self._server.stop(grace=None).wait()

    def wait_for(self, version: int, timeout_seconds: float) -> bool:
        """Waits until it was given that version or a later one."""
        with self._changed:
            return self._changed.wait_for(lambda: self.desired.version >= version, timeout_seconds)

    def hear(self) -> None:
        """Ends deafness: what was given is now loaded and applied."""
        with self._changed:
            self.deaf = False
            self._changed.notify_all()

    def Apply(self, request: wire.ApplyRequest, context: Any) -> wire.ApplyResponse:
        """Takes a newer desired state, ignores an older one."""
        with self._changed:
            self.applies += 1
            if request.desired.version > self.desired.version:
                self.desired = request.desired
                self._changed.notify_all()
            return wire.ApplyResponse(state=self._state())

    def Watch(self, request: wire.WatchRequest, context: grpc.ServicerContext) -> Iterator[wire.WatchResponse]:
        """The state at once, then at every change."""
        last = None
        while context.is_active() and not self._stopping:
            with self._changed:
                state = self._state()
                if state == last:
                    self._changed.wait(timeout=0.2)
            if state != last:
                yield wire.WatchResponse(state=state)
            last = state

    def Scrape(self, request: wire.ScrapeRequest, context: Any) -> wire.ScrapeResponse:
        """The metrics that it was made with."""
        return wire.ScrapeResponse(text=self._metrics)

    def _state(self) -> wire.EngineState:
        state = wire.EngineState(engine_id=self._engine_id, desired_version=self.desired.version)
        for held in self.desired.variants:
            reason = self.failing.get(held.variant, "")
            ready = "LOADING" if self.deaf else "FAILED" if reason else "READY"
            state.servables.add(tenant=held.tenant, model=held.model, variant=held.variant, state=ready, reason=reason)
        for table in self.desired.traffic if not self.deaf else ():
            if not any(arm.variant in self.failing for arm in table.arms):
                state.applied.add(tenant=table.tenant, model=table.model, generation=table.generation)
        return state
