"""File locks of processes of which there may be only one."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from service.errors import FailedPrecondition

_LOOK_SECONDS = 0.02


@contextmanager
def held(path: Path, message: str, patience_seconds: float = 0.0) -> Iterator[None]:
    """Holds the lock file `path`, which then names this process.

    Raises FailedPrecondition with `message`, in which {holder} stands for the other's process id, when somebody else
    still holds it after `patience_seconds`.
    """
    deadline = time.monotonic() + patience_seconds
    with path.open("a+") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if time.monotonic() >= deadline:
                    lock.seek(0)
                    raise FailedPrecondition(message.replace("{holder}", lock.read().strip() or "unknown")) from None
            time.sleep(_LOOK_SECONDS)
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield
