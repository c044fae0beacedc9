"""Which workers of this home are alive: each locks a directory of its own, and the kernel unlocks it when it dies."""

import contextlib
import fcntl
import os
import secrets
from collections.abc import Callable
from pathlib import Path

from service.worker.trial_directory import remove_tree


class Presence:
    """This worker's directory below `scratch`, named after the worker, held until `leave` or death."""

    def __init__(self, scratch: Path) -> None:
        """Enters: makes and locks the directory. Raises OSError."""
        self._scratch = scratch
        self.owner = secrets.token_hex(16)
        self.directory = scratch / self.owner
        self._lock = self._enter()

    def leave(self) -> None:
        """Removes the directory and its lock."""
        remove_tree(self.directory)
        os.close(self._lock)

    def bury_dead(self, abandon: Callable[[str], object]) -> list[str]:
        """Calls `abandon` with the name of each worker that died, then removes what it left. Returns their names."""
        dead = []
        for directory in self._scratch.iterdir():
            if directory.name == self.owner:
                continue
            lock = _try_lock(directory)
            if lock is None:
                continue
            try:
                # First: the directory is the only trace of the dead, and must outlast a crash in between.
                abandon(directory.name)
                remove_tree(directory)
                dead.append(directory.name)
            finally:
                os.close(lock)
        return dead

    def _enter(self) -> int:
        # Made under another name and locked before it gets its own, so that nobody buries it in between.
        arriving = self._scratch.parent / f".arriving-{self.owner}"
        arriving.mkdir(mode=0o700)
        lock = os.open(arriving, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        fcntl.flock(lock, fcntl.LOCK_EX)
        arriving.rename(self.directory)
        return lock


def _try_lock(directory: Path) -> int | None:
    try:
        lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        with contextlib.suppress(OSError):
            # Not a worker's: somebody else's file has no place here.
            directory.unlink()
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.close(lock)
        return None
    return lock
