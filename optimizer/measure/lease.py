"""The machine-wide lease: trainings share it, a measurement has it alone, so that neither spoils the other."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def _silent() -> None:
    """Says nothing."""


@contextmanager
def held(path: Path | None, *, exclusive: bool, waiting: Callable[[], None] = _silent) -> Iterator[None]:
    """Holds an flock on `path` (None: nothing to hold), waiting as long as it takes; `waiting` is called if it must.

    Not reentrant: a process that holds the shared lease must give it back before it asks for the exclusive one. The
    kernel releases the lease of a process that dies.
    """
    if path is None:
        yield
        return
    mode = fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH
    descriptor = _open(path)
    try:
        try:
            fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
        except BlockingIOError:
            waiting()
            fcntl.flock(descriptor, mode)
        yield
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    try:
        # Reading is enough for a lock, and all that a sandbox may allow.
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
