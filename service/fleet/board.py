"""What the engines of this host last said: states of variants, applied traffic, and who is connected."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

from service.wire.stillroom.internal.v1 import engine_service_pb2 as wire


class Serving(Enum):
    """How far a variant that engines shall hold has come."""

    LOADING = "loading"
    READY = "ready"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True)
class Standing:
    """A variant's state on all engines together; `reason` says why when it is not READY."""

    serving: Serving
    reason: str = ""


class Board:
    """The engines' last words. Thread-safe; links write, servicers read and wait."""

    def __init__(self, engines: int) -> None:
        self._engines = engines
        self._states: dict[int, wire.EngineState] = {}
        self._changed = threading.Condition()
        self._subscriber: Callable[[], None] = lambda: None

    def subscribe(self, subscriber: Callable[[], None]) -> None:
        """Has `subscriber` called after every change, by the thread that brought it. Call before any link starts."""
        self._subscriber = subscriber

    def update(self, index: int, state: wire.EngineState) -> None:
        """Engine `index` is connected and says this."""
        with self._changed:
            self._states[index] = state
            self._changed.notify_all()
        self._subscriber()

    def disconnected(self, index: int) -> None:
        """Engine `index` cannot be heard any more; what it said does not count."""
        with self._changed:
            self._states.pop(index, None)
            self._changed.notify_all()
        self._subscriber()

    def connected(self) -> dict[int, wire.EngineState]:
        """Index to last state of the engines that can be heard."""
        with self._changed:
            return dict(self._states)

    def all_connected(self) -> bool:
        """Whether every engine of this host can be heard."""
        return len(self.connected()) == self._engines

    def standing(self, tenant: str, model: str, variant: str) -> Standing:
        """What the engines together say of a variant that they shall hold: the worst of them counts."""
        states = self.connected()
        if not states:
            return Standing(Serving.LOADING, "no engine is connected")
        found = [
            servable
            for state in states.values()
            for servable in state.servables
            if (servable.tenant, servable.model, servable.variant) == (tenant, model, variant)
        ]
        for servable in found:
            if servable.state == "FAILED":
                return Standing(Serving.UNAVAILABLE, servable.reason)
        if len(found) == len(states) and all(servable.state == "READY" for servable in found):
            return Standing(Serving.READY)
        return Standing(Serving.LOADING)

    def applied(self, tenant: str, model: str) -> int:
        """The newest generation that every engine of this host has applied; 0 when one has none or is away."""
        states = self.connected()
        if len(states) < self._engines:
            return 0
        return min(_applied(state, tenant, model) for state in states.values())

    def wait_for(self, condition: Callable[[], bool], timeout_seconds: float) -> bool:
        """Waits until `condition` holds; False when the time was too short.

        It is asked under the board's lock, and so may ask this board but nobody who waits for it.
        """
        with self._changed:
            return self._changed.wait_for(condition, timeout_seconds)


def _applied(state: wire.EngineState, tenant: str, model: str) -> int:
    for traffic in state.applied:
        if (traffic.tenant, traffic.model) == (tenant, model):
            return traffic.generation
    return 0
