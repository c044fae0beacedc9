"""The bounded queue of one servable: refuses at the door what it cannot hold, and drops the dead on the way out."""

import threading
import time
from collections.abc import Callable, Sequence

from service.batching.entry import Entry
from service.batching.policy import Limits, choose
from service.errors import ServiceError, Unavailable

FULL = "Exceeds maximum queue size"


class EntryQueue:
    """Entries in order of arrival. Any thread may offer; the threads of the servable's instances take."""

    def __init__(self, capacity: int, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self._capacity = capacity
        self._clock = clock
        self._waiting: list[Entry] = []
        self._change = threading.Condition()
        self._closed = False

    def __len__(self) -> int:
        return len(self._waiting)

    def offer(self, entries: Sequence[Entry]) -> None:
        """Takes in what there is room for; the rest is answered with UNAVAILABLE at once."""
        dead: list[tuple[Entry, ServiceError]] = []
        with self._change:
            if self._closed:
                room = 0
            else:
                if len(self._waiting) + len(entries) > self._capacity:
                    self._waiting, dead = self._sift(self._waiting)
                room = self._capacity - len(self._waiting)
                self._waiting.extend(entries[:room])
                self._change.notify()
        for entry, error in dead:
            entry.deliver(entry, error)
        for entry in entries[room:]:
            entry.deliver(entry, Unavailable(FULL))

    def take(self, limits: Limits) -> list[Entry] | None:
        """Waits, then returns the entries to run together, none of them dead; None once closed and empty."""
        while True:
            taken = self._take_some(limits)
            if taken is None:
                return None
            alive, dead = self._sift(taken)
            for entry, error in dead:
                entry.deliver(entry, error)
            if alive:
                return alive

    def close(self) -> None:
        """Refuses new entries; those that wait are still given out."""
        with self._change:
            self._closed = True
            self._change.notify_all()

    def _take_some(self, limits: Limits) -> list[Entry] | None:
        with self._change:
            while True:
                while not self._waiting:
                    if self._closed:
                        return None
                    self._change.wait()
                age_ns = self._clock() - self._waiting[0].arrived_ns
                choice = choose(self._waiting, 2**63 if self._closed else age_ns, limits)
                if choice.take:
                    return self._remove(choice.take)
                self._change.wait(choice.wait_ns / 1e9)

    def _remove(self, positions: tuple[int, ...]) -> list[Entry]:
        taken = [self._waiting[position] for position in positions]
        if positions[-1] == len(positions) - 1:
            del self._waiting[: len(positions)]
        else:
            chosen = set(positions)
            self._waiting = [entry for position, entry in enumerate(self._waiting) if position not in chosen]
        if self._waiting:
            # Another instance may take what is left.
            self._change.notify()
        return taken

    def _sift(self, entries: list[Entry]) -> tuple[list[Entry], list[tuple[Entry, ServiceError]]]:
        now_ns = self._clock()
        alive: list[Entry] = []
        dead: list[tuple[Entry, ServiceError]] = []
        for entry in entries:
            error = entry.death(now_ns)
            if error is None:
                alive.append(entry)
            else:
                dead.append((entry, error))
        return alive, dead
