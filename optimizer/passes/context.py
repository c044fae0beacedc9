"""What a pass is given besides its config and the model."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from optimizer.artifact.manifest import Hardware, Table
from optimizer.artifact.rows import Rows
from optimizer.artifact.session import SessionSpec
from optimizer.artifact.task import Task
from optimizer.intake.stages import OnnxModel, TorchModel


class Report(Protocol):
    """Tells the watcher how far the present pass has come."""

    def __call__(
        self, share: float, *, loss: float | None = None, eta_seconds: float | None = None, message: str = ""
    ) -> None:
        """`share` runs from 0 to 1 within the pass."""


def silent(share: float, *, loss: float | None = None, eta_seconds: float | None = None, message: str = "") -> None:
    """A `Report` that nobody reads."""


@dataclass(frozen=True)
class Splits:
    """The rows that passes may read. The evaluation rows are not among them."""

    train: Rows
    calibration: Rows
    selection: Rows


@dataclass(frozen=True)
class References:
    """Models that a pass may compare with or learn from, opened when asked for."""

    # The checkpoint as its owner trained it; every call opens it anew. Raises UnsupportedModel for an ONNX checkpoint.
    source: Callable[[], TorchModel]
    # An ONNX checkpoint's graph; None for a checkpoint of another format.
    graph: Callable[[], OnnxModel] | None = None


@dataclass(frozen=True)
class Context:
    """Everything that decides a pass's result, and where its files go."""

    task: Task
    splits: Splits
    references: References
    hardware: Hardware
    session: SessionSpec
    seed: int
    # Threads that training may take.
    threads: int
    # Empty directory of this pass alone; its output and whatever it needs on the way go here.
    directory: Path
    report: Report = silent
    # Writable, and kept when the process is killed: what a long pass needs to go on where it was. None: nowhere.
    resume: Path | None = None
    # What the pass wants a reader of the manifest to know; passes append.
    notes: list[str] = field(default_factory=list)
    # Figures for the report; passes append.
    tables: list[Table] = field(default_factory=list)
