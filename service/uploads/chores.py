"""Runs what must be done now and then, each chore at its own pace, in one thread."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy.exc import SQLAlchemyError

from service.errors import ServiceError

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Chore:
    """Something to do every so often. After a ServiceError, OSError or SQLAlchemyError it waits for its next turn."""

    name: str
    every_seconds: float
    do: Callable[[], object]


def due(done_at: Sequence[float], every_seconds: Sequence[float], now: float) -> tuple[list[int], float]:
    """Which chores are due, by index, and how long to wait for the next one after them. Times in seconds."""
    chosen = [
        index for index, (done, every) in enumerate(zip(done_at, every_seconds, strict=True)) if now >= done + every
    ]
    waits = [
        every if index in chosen else done + every - now
        for index, (done, every) in enumerate(zip(done_at, every_seconds, strict=True))
    ]
    return chosen, min(waits)


class Chores:
    """The thread. Every chore's first turn comes after its own pause, not at start."""

    def __init__(self, chores: Sequence[Chore], clock: Callable[[], float] = time.monotonic) -> None:
        self._chores = chores
        self._clock = clock
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="chores", daemon=True)

    def start(self) -> None:
        """Begins."""
        self._thread.start()

    def close(self) -> None:
        """Ends after the chore that runs now."""
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        every = [chore.every_seconds for chore in self._chores]
        done_at = [self._clock()] * len(every)
        wait_seconds = 0.0
        while not self._stopping.wait(wait_seconds):
            now = self._clock()
            chosen, wait_seconds = due(done_at, every, now)
            for index in chosen:
                done_at[index] = now
                try:
                    self._chores[index].do()
                except (ServiceError, OSError, SQLAlchemyError) as error:
                    _LOG.warning("%s failed and will be tried again: %s", self._chores[index].name, error)
