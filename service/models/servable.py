"""One variant held by an engine: its states, its handle count, and its queue and batchers while it is ready."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from optimizer.artifact.session import SessionSpec
from optimizer.artifact.signature import Signature
from service.backends.base import Backend
from service.batching.batcher import Batcher
from service.batching.entry import Entry
from service.batching.policy import Limits
from service.batching.queue import EntryQueue
from service.metrics import Recorder


class State(StrEnum):
    """NEW -> LOADING -> READY -> DRAINING -> UNLOADED; any but UNLOADED -> FAILED.

    NEW       known, nothing loaded
    LOADING   its file is checked, its session built, its answers compared, its speed measured
    READY     answers requests that reach it; being ready takes no traffic
    DRAINING  takes no new request; those that hold it are finished
    UNLOADED  its memory is given back
    FAILED    could not be loaded; the reason says why
    """

    NEW = "NEW"
    LOADING = "LOADING"
    READY = "READY"
    DRAINING = "DRAINING"
    UNLOADED = "UNLOADED"
    FAILED = "FAILED"


_NEXT: dict[State, frozenset[State]] = {
    State.NEW: frozenset({State.LOADING, State.UNLOADED, State.FAILED}),
    State.LOADING: frozenset({State.READY, State.UNLOADED, State.FAILED}),
    State.READY: frozenset({State.DRAINING, State.FAILED}),
    State.DRAINING: frozenset({State.UNLOADED, State.FAILED}),
    State.UNLOADED: frozenset(),
    State.FAILED: frozenset({State.UNLOADED}),
}


Key = tuple[str, str, str, str]


@dataclass(frozen=True)
class Description:
    """Everything an engine is told of a variant."""

    tenant: str
    model: str
    variant: str
    path: Path
    golden_path: Path | None
    # sha256 of the file at `path`.
    digest: str
    signature: Signature
    session: SessionSpec
    # The checkpoint's source, which takes its model's traffic until a split is set.
    source: bool = False
    # Figures that ModelConfig shows.
    labels: tuple[tuple[str, str], ...] = ()

    @property
    def key(self) -> Key:
        """Descriptions of equal keys are the same servable; the rest may be told anew."""
        return (self.tenant, self.model, self.variant, self.digest)

    @property
    def name(self) -> str:
        """model/variant, for people."""
        return f"{self.model}/{self.variant}"


class Servable:
    """A variant. `acquire` and `release` may be called by any thread, the rest by its manager."""

    def __init__(self, description: Description, max_batch: int, queue_capacity: int) -> None:
        self.description = description
        # Rows that a client may send at once; 0: the model has no batch axis.
        self.max_batch = max_batch if description.signature.batched else 0
        self.recorder = Recorder()
        self.queue = EntryQueue(queue_capacity)
        self.reason = ""
        self._state = State.NEW
        self._lock = threading.Lock()
        self._idle = threading.Condition(self._lock)
        self._handles = 0
        self._backend: Backend | None = None
        self._batchers: list[Batcher] = []

    @property
    def state(self) -> State:
        """The present state."""
        return self._state

    def move(self, state: State, reason: str = "") -> None:
        """Enters a state. Raises ValueError for a transition that is not drawn over State."""
        with self._lock:
            if state not in _NEXT[self._state]:
                raise ValueError(f"{self.description.name} cannot go from {self._state} to {state}")
            self._state = state
            self.reason = reason

    def open(self, backend: Backend, limits: Limits, instances: int) -> None:
        """Starts its batchers: LOADING -> READY."""
        self._backend = backend
        self._batchers = [
            Batcher(f"{self.description.name}-{number}", self.queue, backend, limits, self.recorder)
            for number in range(instances)
        ]
        for batcher in self._batchers:
            batcher.start()
        self.move(State.READY)

    def acquire(self) -> bool:
        """Takes a handle, which keeps the variant loaded until `release`. False when it is not READY."""
        with self._lock:
            if self._state is not State.READY:
                return False
            self._handles += 1
            return True

    def release(self) -> None:
        """Gives a handle back."""
        with self._lock:
            self._handles -= 1
            if not self._handles:
                self._idle.notify_all()

    def offer(self, entries: Sequence[Entry]) -> None:
        """Puts entries in its queue; each holds a handle."""
        self.queue.offer(entries)

    def wait_idle(self, timeout_seconds: float | None = None) -> bool:
        """Waits until nobody holds a handle. False when the time was too short."""
        with self._lock:
            return self._idle.wait_for(lambda: self._handles == 0, timeout_seconds)

    def close(self, timeout_seconds: float | None = None) -> bool:
        """Ends the batchers and frees the model. What still waits is answered first.

        False when a run took longer than the timeout: the model is not freed.
        """
        self.queue.close()
        if not all(batcher.join(timeout_seconds) for batcher in self._batchers):
            return False
        self._batchers = []
        if self._backend is not None:
            self._backend.close()
            self._backend = None
        return True
