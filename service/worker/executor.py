"""Runs one trial: the port, and the executor that starts a sandboxed child on this host."""

import json
import logging
import os
import selectors
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from pydantic import ValidationError

from optimizer.recipe.trial import Event, Failed, Finished, Progress, StepFinished, StepStarted, Studied, parse_event
from service.worker import sandbox
from service.worker.confine import REFUSED, Report
from service.worker.output import Flooded, Lines, Tail, plain, without_paths
from service.worker.trial_directory import TrialDirectory
from service.worker.watchdog import Limits, Watchdog

_LOG = logging.getLogger(__name__)

# Kinds of Failed that this side adds to those of optimizer.errors.
LIMIT = "limit"
SANDBOX = "sandbox"
KILLED = "killed"
INTERNAL = "internal"

_LIMIT_SIGNALS: dict[int, str] = {
    signal.SIGXCPU: "the trial used up its CPU time",
    signal.SIGXFSZ: "the trial wrote a file beyond the limit",
}

# How long a child may take to leave after its last event.
_LEAVE_SECONDS = 10.0
_READ_BYTES = 65536


@dataclass(frozen=True)
class Order:
    """A trial that lies ready in its directory."""

    directory: TrialDirectory
    # Read-only directories beside those of the trial: cached steps.
    read: tuple[Path, ...] = ()
    # Existing files that may be opened for writing: the machine-wide lease.
    locks: tuple[Path, ...] = ()
    # A writable directory beside the scratch directory that outlives the trial's process.
    resume: Path | None = None

    @property
    def writable(self) -> tuple[Path, ...]:
        """All directories that the child may write in."""
        return (self.directory.scratch,) if self.resume is None else (self.directory.scratch, self.resume)


@dataclass(frozen=True)
class Interrupted:
    """The trial was ended because nobody wants its result any more."""


Outcome = Finished | Studied | Failed | Interrupted


class Listener(Protocol):
    """What is told while a trial runs, always from the thread that called `run`."""

    def confined(self, level: str) -> None:
        """The sandbox is closed; `level` names its layers."""

    def happened(self, event: StepStarted | Progress | StepFinished) -> None:
        """The child says so; it may lie."""


class Executor(Protocol):
    """Runs trials, one at a time for each caller."""

    def run(self, order: Order, listener: Listener, interrupted: Callable[[], bool]) -> Outcome:
        """Returns when no process of the trial is left. `interrupted` is asked often, from any thread.

        A returned `Finished` or `Studied` is the child's claim: what it names has still to be checked.
        """


class LocalExecutor:
    """An Executor that runs the child on this host, confined and watched."""

    def __init__(self, command: Sequence[str], limits: Limits, require_sandbox: bool) -> None:
        """`command` is given the spec's path as its last argument; its first word is an absolute path."""
        self._command = tuple(command)
        self._limits = limits
        self._require_sandbox = require_sandbox

    def run(self, order: Order, listener: Listener, interrupted: Callable[[], bool]) -> Outcome:
        """See Executor."""
        sandbox.link_packages(order.directory.packages)
        with self._started(order) as (process, report):
            if report is None:
                return Failed(kind=KILLED, message="the trial's process ended before it began")
            if self._require_sandbox and (missing := _missing(report)):
                return Failed(kind=SANDBOX, message=missing)
            listener.confined(report.level)
            watchdog = Watchdog(process.pid, order.writable, self._limits, interrupted)
            transcript = _Transcript(listener)
            watchdog.start()
            try:
                tail = _listen(process, watchdog, transcript)
                watchdog.ended.wait()
            finally:
                watchdog.close()
            return _outcome(process.wait(), transcript.last, tail, watchdog)

    @contextmanager
    def _started(self, order: Order) -> Iterator[tuple[subprocess.Popen[bytes], Report | None]]:
        report_read, report_write = os.pipe()
        directory = order.directory
        try:
            plan = sandbox.plan(
                read=[directory.root / "input", directory.spec, directory.packages, *order.read],
                write=order.writable,
                devices=order.locks,
                inherited=os.environ,
                require=self._require_sandbox,
                report_fd=report_write,
                max_file_bytes=self._limits.scratch_bytes,
                # Of one process; all cores together cannot use more within the time on the wall.
                cpu_seconds=int(self._limits.wall_seconds * (os.cpu_count() or 1)) + 60,
            )
            process = subprocess.Popen(
                sandbox.command_line(plan, [*self._command, str(directory.spec)]),
                # The keeper's lifeline: its end of input is our death.
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=directory.scratch,
                env=sandbox.environment(os.environ, directory.packages, directory.scratch),
                pass_fds=(report_write,),
                start_new_session=True,
            )
        except BaseException:
            os.close(report_read)
            os.close(report_write)
            raise
        os.close(report_write)
        with process, os.fdopen(report_read, "rb") as stream:
            try:
                yield process, _read_report(stream)
            finally:
                assert process.stdin is not None
                process.stdin.close()


def optimizer_command() -> tuple[str, ...]:
    """The optimizer's own child process."""
    return (sys.executable, "-m", "optimizer", "run")


def _read_report(stream: IO[bytes]) -> Report | None:
    line = stream.readline(_READ_BYTES)
    return Report(**json.loads(line)) if line else None


def _missing(report: Report) -> str:
    absent = [name for name in sandbox.REQUIRED_LAYERS if name not in report.reached]
    lacking = [f"{name} ({report.missing.get(name, 'unknown')})" for name in absent]
    if not lacking:
        return ""
    return f"this host cannot confine a trial as required: missing {', '.join(lacking)}"


class _Transcript:
    """What the child has said so far: events go to the listener, up to the one that is its last word."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._lines = Lines()
        self.last: Finished | Studied | Failed | None = None
        self.flooded = False

    def hear(self, data: bytes) -> None:
        """Takes a piece of standard output."""
        try:
            for line in self._lines.feed(data):
                event = _event(line)
                if self.last is not None:
                    return
                if isinstance(event, Finished | Studied | Failed):
                    self.last = event
                elif event is not None:
                    self._listener.happened(event)
        except Flooded:
            self.flooded = True
            self.last = self.last or Failed(kind=LIMIT, message="the trial wrote too much to its output")


def _listen(process: subprocess.Popen[bytes], watchdog: Watchdog, transcript: _Transcript) -> Tail:
    """Reads both streams to their ends; returns the end of what the child complained about."""
    assert process.stdout is not None
    assert process.stderr is not None
    tail = Tail()
    hearers = {process.stdout.fileno(): transcript.hear, process.stderr.fileno(): tail.feed}
    with selectors.DefaultSelector() as selector:
        for stream in hearers:
            selector.register(stream, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(timeout=1.0)
            if not ready and watchdog.ended.is_set():
                # Somebody outside the group holds the other end; nothing more will come.
                break
            for key, _ in ready:
                data = os.read(key.fd, _READ_BYTES)
                if data:
                    hearers[key.fd](data)
                else:
                    selector.unregister(key.fd)
            if transcript.last is not None:
                watchdog.expect_end(0.0 if transcript.flooded else _LEAVE_SECONDS)
    return tail


def _event(line: bytes) -> Event | None:
    try:
        return parse_event(line)
    except ValidationError:
        # A library that prints, or a hostile child; neither is worth more than a look.
        _LOG.debug("not an event: %s", plain(line[:200].decode(errors="replace")))
        return None


def _outcome(status: int, last: Finished | Studied | Failed | None, tail: Tail, watchdog: Watchdog) -> Outcome:
    if tail.text.strip():
        _LOG.info("last words of the trial:\n%s", "\n".join(plain(line) for line in tail.text.splitlines()[-20:]))
    if watchdog.was_interrupted:
        return Interrupted()
    if last is not None:
        return last
    if watchdog.excess is not None:
        return Failed(kind=LIMIT, message=watchdog.excess)
    if status == REFUSED:
        return Failed(kind=SANDBOX, message="this host cannot confine a trial as required")
    code = status - 128 if status > 128 else -status
    if code == signal.SIGKILL:
        return Failed(kind=KILLED, message="the trial's process was killed, most likely for want of memory")
    if code in _LIMIT_SIGNALS:
        return Failed(kind=LIMIT, message=_LIMIT_SIGNALS[code])
    how = f"signal {signal.Signals(code).name}" if code in set(signal.Signals) else f"status {status}"
    words = plain(without_paths(tail.last_line), 300)
    return Failed(kind=INTERNAL, message=f"the optimizer stopped with {how}" + (f": {words}" if words else ""))
