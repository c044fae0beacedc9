"""Watches a trial's processes from outside and ends them: too much memory, disk or time, or not wanted any more."""

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

_POLL_SECONDS = 0.2
# Finding all descendants and walking the scratch directory cost more than a look at known processes.
_SURVEY_SECONDS = 1.0
_ENDLESS = 2**62


@dataclass(frozen=True)
class Limits:
    """What a trial may use at most."""

    # Resident memory of all its processes; what they share counts for each.
    memory_bytes: int
    wall_seconds: float
    scratch_bytes: int
    processes: int = 64


@dataclass(frozen=True)
class Usage:
    """What a trial uses."""

    memory_bytes: int = 0
    wall_seconds: float = 0.0
    scratch_bytes: int = 0
    processes: int = 0


def excess(usage: Usage, limits: Limits) -> str | None:
    """Why a trial must be ended, if it must."""
    if usage.memory_bytes > limits.memory_bytes:
        return f"out of memory: limit {_mebibytes(limits.memory_bytes)}"
    if usage.wall_seconds > limits.wall_seconds:
        return f"out of time: limit {limits.wall_seconds:g} seconds"
    if usage.scratch_bytes > limits.scratch_bytes:
        return f"out of scratch space: limit {_mebibytes(limits.scratch_bytes)}"
    if usage.processes > limits.processes:
        return f"too many processes: limit {limits.processes}"
    return None


class Watchdog:
    """A thread that looks at one process group until it ends. `close` always ends the group."""

    def __init__(self, leader: int, writable: Sequence[Path], limits: Limits, interrupted: Callable[[], bool]) -> None:
        """`leader` is a child of this process, not yet waited for, `writable` what it may fill.

        `interrupted` is asked often, from the thread.
        """
        self._leader = leader
        self._writable = tuple(writable)
        self._limits = limits
        self._interrupted = interrupted
        self._started = time.monotonic()
        self._deadline = self._started + limits.wall_seconds
        self._processes: list[psutil.Process] = []
        self._scratch_bytes = 0
        self._surveyed_at = float("-inf")
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        # Why the group was killed: a limit's sentence.
        self.excess: str | None = None
        self.was_interrupted = False
        # The leader has ended; whatever was left of its group is killed by then.
        self.ended = threading.Event()

    def start(self) -> None:
        """Begins to watch."""
        self._thread.start()

    def expect_end(self, within_seconds: float) -> None:
        """The trial has said that it is done: it gets so long to leave, and is killed then without any fault."""
        self._deadline = min(self._deadline, time.monotonic() + within_seconds)

    def close(self) -> None:
        """Kills what is left and ends the thread."""
        self._closing.set()
        self._thread.join()

    def _watch(self) -> None:
        try:
            while not self._closing.wait(_POLL_SECONDS) and not self._has_ended():
                self.was_interrupted = self._interrupted()
                now = time.monotonic()
                self.excess = excess(self._usage(now), self._limits)
                if self.was_interrupted or self.excess or now > self._deadline:
                    break
        finally:
            # Whatever went wrong here: no trial runs unwatched.
            kill_group(self._leader)
            self.ended.set()

    def _has_ended(self) -> bool:
        # A zombie is not reaped here: as long as it is one, nobody else can get its number, nor its group's.
        try:
            return psutil.Process(self._leader).status() in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
        except psutil.NoSuchProcess:
            return True

    def _usage(self, now: float) -> Usage:
        if now - self._surveyed_at >= _SURVEY_SECONDS:
            self._surveyed_at = now
            self._scratch_bytes = sum(map(size_of, self._writable))
            with contextlib.suppress(psutil.Error):
                leader = psutil.Process(self._leader)
                self._processes = [leader, *leader.children(recursive=True)]
        memory_bytes = 0
        for process in self._processes:
            with contextlib.suppress(psutil.Error):
                memory_bytes += process.memory_info().rss
        return Usage(memory_bytes, now - self._started, self._scratch_bytes, len(self._processes))


def kill_group(leader: int) -> None:
    """Kills the process group of `leader`, if it still has members."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def size_of(directory: Path) -> int:
    """Bytes on disk of all files below a directory; links are not followed, what vanishes meanwhile is left out.

    A directory that its maker closed to us counts as endless.
    """
    total = 0

    def closed(error: OSError) -> None:
        nonlocal total
        if isinstance(error, PermissionError):
            total += _ENDLESS

    for folder, _, names in os.walk(directory, onerror=closed):
        for name in names:
            with contextlib.suppress(OSError):
                total += os.lstat(os.path.join(folder, name)).st_blocks * 512
    return total


def _mebibytes(size: int) -> str:
    return f"{size / 2**20:.0f} MiB"
