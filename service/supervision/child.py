"""A role as a child process: started, stopped, restarted after a pause; it never outlives its parent on Linux."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass

from service.worker import kernel

_FIRST_PAUSE_SECONDS = 0.1
_LONGEST_PAUSE_SECONDS = 10.0
# A child that lived so long has proved that it can: its next crash counts as the first again.
_PROVEN_SECONDS = 30.0


@dataclass(frozen=True)
class Role:
    """What a child is to do."""

    name: str
    command: tuple[str, ...]
    # From SIGTERM until SIGKILL.
    stop_seconds: float
    # Whether it waits until the server is live, so that its start takes no time from those that answer clients.
    after_live: bool = False


def pause_seconds(crashes: int) -> float:
    """How long to wait before a start after so many crashes in a row: 0.1 s, doubled each time, 10 s at most."""
    return min(_LONGEST_PAUSE_SECONDS, _FIRST_PAUSE_SECONDS * 2.0 ** min(crashes - 1, 20))


class Child:
    """One role's process. Used by the supervisor's main thread alone, whose death its children are told of."""

    def __init__(self, role: Role) -> None:
        self.role = role
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._crashes = 0

    @property
    def pid(self) -> int | None:
        """Of the present process."""
        return None if self._process is None else self._process.pid

    def start(self) -> None:
        """Starts a process of its own session: Ctrl-C reaches the supervisor alone, which stops all in order."""
        self._started_at = time.monotonic()
        self._process = subprocess.Popen(
            self.role.command,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            # Safe here: the supervisor has one thread.
            preexec_fn=_dying_with(os.getpid()) if kernel.is_linux() else None,
        )

    def ended(self) -> int | None:
        """The status with which it has ended, negative for a signal; None while it runs or is not started."""
        return None if self._process is None else self._process.poll()

    def pause_after_crash(self) -> float:
        """Counts a crash and says how many seconds to wait before `start`."""
        if time.monotonic() - self._started_at >= _PROVEN_SECONDS:
            self._crashes = 0
        self._crashes += 1
        self._process = None
        return pause_seconds(self._crashes)

    def terminate(self) -> None:
        """Asks it to end."""
        if self._process is not None:
            self._process.terminate()

    def kill(self) -> None:
        """Ends it, and waits until it has ended."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()


def describe_end(status: int) -> str:
    """An exit status in words."""
    if status >= 0:
        return f"ended with status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:
        return f"was killed by signal {-status}"


def _dying_with(parent: int) -> Callable[[], None]:
    def prepare() -> None:
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
        # The parent may have died before the kernel was told.
        if os.getppid() != parent:
            os._exit(1)

    return prepare
