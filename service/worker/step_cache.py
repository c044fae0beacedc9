"""Finished optimizer steps of earlier trials, kept by key and bounded in size: cache/<tenant>/<key>/."""

import contextlib
import logging
import os
import secrets
import shutil
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from service.worker.harvest import take_tree
from service.worker.watchdog import size_of

_LOG = logging.getLogger(__name__)

# Entries on their way in or out; never read.
_HIDDEN = "."
_LEFTOVER_SECONDS = 3600.0


@dataclass(frozen=True)
class Entry:
    """A kept step."""

    path: Path
    size_bytes: int
    used_at_ns: int


def to_evict(entries: Iterable[Entry], limit_bytes: int) -> list[Entry]:
    """The least recently used entries without which the rest fits."""
    newest_first = sorted(entries, key=lambda entry: entry.used_at_ns, reverse=True)
    kept_bytes = 0
    evicted: list[Entry] = []
    for entry in newest_first:
        if evicted or kept_bytes + entry.size_bytes > limit_bytes:
            evicted.append(entry)
        else:
            kept_bytes += entry.size_bytes
    return evicted


class StepCache:
    """A directory of finished steps. Several workers may share it: an entry appears and disappears by one rename."""

    def __init__(self, root: Path, limit_bytes: int) -> None:
        self._root = root
        self._limit_bytes = limit_bytes

    def find(self, tenant: str, keys: Iterable[str]) -> dict[str, Path]:
        """Where the kept steps among `keys` lie; they count as just used."""
        found = {}
        for key in keys:
            path = self._root / tenant / key
            with contextlib.suppress(FileNotFoundError):
                os.utime(path)
                found[key] = path
        return found

    def keep(self, tenant: str, key: str, scratch: Path, max_bytes: int) -> None:
        """Copies scratch/steps/<key> in, unless it is there. The caller has checked that `key` was asked for.

        Only `scratch` itself is trusted. Raises harvest.Tainted, OSError.
        """
        target = self._root / tenant / key
        if target.is_dir():
            return
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        arriving = target.with_name(f"{_HIDDEN}{key}.{secrets.token_hex(4)}")
        try:
            take_tree(scratch, ("steps", key), arriving, max_bytes)
            with contextlib.suppress(OSError):
                # Another worker may have been first; its entry is as good.
                arriving.rename(target)
        finally:
            shutil.rmtree(arriving, ignore_errors=True)

    def evict(self) -> None:
        """Removes the least recently used steps above the limit, and what a killed worker left half done.

        To be called while no trial of this worker runs.
        """
        for path in self._root.glob(f"*/{_HIDDEN}*"):
            # Younger ones may be another worker's, on their way.
            with contextlib.suppress(FileNotFoundError):
                if abs(time.time() - path.stat().st_mtime) > _LEFTOVER_SECONDS:
                    shutil.rmtree(path, ignore_errors=True)
        entries = [Entry(path, size_of(path), path.stat().st_mtime_ns) for path in self._root.glob("*/[!.]*")]
        for entry in to_evict(entries, self._limit_bytes):
            _LOG.info("step cache is full: forgetting %s", entry.path.name)
            leaving = entry.path.with_name(f"{_HIDDEN}{entry.path.name}.{secrets.token_hex(4)}")
            with contextlib.suppress(OSError):
                entry.path.rename(leaving)
            shutil.rmtree(leaving, ignore_errors=True)
