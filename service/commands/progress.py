"""How far an upload, a download or a job has come: a bar where stderr is a terminal, plain lines elsewhere."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from service.client.resources import JobEvent
from service.commands import words

# Plain lines of a running step come at most once in so many percent.
_LINE_PERCENT = 10.0
_MESSAGE_LENGTH = 80


class Transfer(Protocol):
    """Is told the bytes that have gone over the wire."""

    def __call__(self, name: str, done_bytes: int, size_bytes: int, /) -> None: ...


@contextmanager
def transfer() -> Iterator[Transfer]:
    """Shows the files that are sent or fetched while the block runs."""
    if not sys.stderr.isatty():
        yield _TransferLines()
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bars:
        yield _TransferBars(bars)


class _TransferLines:
    """One line for each file that has arrived."""

    def __call__(self, name: str, done_bytes: int, size_bytes: int, /) -> None:
        # The end is told once or twice, depending on whether bytes had to be sent for it.
        if done_bytes == size_bytes and name != self._last:
            self._last = name
            print(f"{name}: {words.size(size_bytes)}", file=sys.stderr)

    _last = ""


class _TransferBars:
    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, name: str, done_bytes: int, size_bytes: int, /) -> None:
        if name not in self._tasks:
            self._tasks[name] = self._bars.add_task(name, total=size_bytes)
        self._bars.update(self._tasks[name], completed=done_bytes)


class JobView(Protocol):
    """Is shown a job's events."""

    def show(self, event: JobEvent) -> None: ...


@contextmanager
def job() -> Iterator[JobView]:
    """Shows a job's events while the block runs."""
    if not sys.stderr.isatty():
        yield JobLines()
        return
    columns = (TextColumn("{task.percentage:>3.0f}%"), BarColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True)) as bar:
        yield _JobBar(bar)


class JobLines:
    """A line for each event that is not mere progress, and for progress at every tenth percent."""

    def __init__(self) -> None:
        self._shown_percent = 0.0

    def show(self, event: JobEvent) -> None:
        """Prints the event, or does not."""
        if event.kind == "progress" and event.percent - self._shown_percent < _LINE_PERCENT:
            return
        self._shown_percent = event.percent
        print(f"{event.percent:3.0f}%  {describe(event)}", file=sys.stderr, flush=True)


class _JobBar:
    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._task = bar.add_task("waiting for a worker", total=100)

    def show(self, event: JobEvent) -> None:
        if event.kind != "progress":
            self._bar.console.print(describe(event), highlight=False, markup=False)
        self._bar.update(self._task, completed=event.percent, description=describe(event).replace("[", r"\["))


def describe(event: JobEvent) -> str:
    """An event in one short line: trial, step, message, loss, time left."""
    where = ": ".join(part for part in (event.trial, event.step) if part)
    message = event.message.removeprefix(event.step).removeprefix(": ")
    # A whole reason would bury the lines around it; the table at the end has it.
    parts = [where, message if len(message) <= _MESSAGE_LENGTH else f"{message[: _MESSAGE_LENGTH - 1]}…"]
    if event.loss is not None:
        parts.append(f"loss {event.loss:.4g}")
    if event.eta_seconds is not None and not event.job_state.ended:
        parts.append(f"about {words.duration(event.eta_seconds)} left")
    return ", ".join(part for part in parts if part) or event.kind
