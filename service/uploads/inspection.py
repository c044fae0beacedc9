"""Has uploaded files inspected by a child process (service.uploads.inspector), and says what it found."""

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import psutil
from pydantic import BaseModel, ConfigDict

from service.errors import DeadlineExceeded, InvalidArgument, ResourceExhausted, ServiceError

_LOG = logging.getLogger(__name__)

# Pushes inspected at the same time; others wait.
_AT_ONCE = 2
_LONGEST_SECONDS = 600.0


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class NamedFile(_Message):
    """A stored file and the name that its owner gave it."""

    name: str
    path: Path


class Question(_Message):
    """What the child is asked to look at."""

    # The checkpoint's files by their relative names.
    files: dict[str, Path]
    # The data set's files by split; empty: none to check.
    dataset: dict[str, NamedFile]
    # Empty: chosen by the data.
    task: str
    memory_limit_bytes: int
    cpu_limit_seconds: int


class Answer(_Message):
    """What the child found. Either `problem` says why the files are refused, or the rest is there."""

    problem: str = ""
    # JSON of optimizer.artifact.inspected.Inspection.
    inspection: dict[str, Any] = {}
    # Empty when no data set was given.
    task: str = ""
    # Split name to rows.
    rows: dict[str, int] = {}


@dataclass(frozen=True)
class Findings:
    """What is known of files that were accepted."""

    # JSON of optimizer.artifact.inspected.Inspection.
    inspection: dict[str, Any]
    # Empty when no data set was given.
    task: str
    # Split name to rows.
    rows: dict[str, int]

    @property
    def format(self) -> str:
        """ "huggingface", "onnx", "pt2" or "state_dict"."""
        return str(self.inspection["format"])


class Inspector(Protocol):
    """Looks at a stranger's files without executing anything. Thread-safe."""

    def inspect(
        self, files: Mapping[str, Path], dataset: Mapping[str, tuple[str, Path]], task: str, timeout_seconds: float
    ) -> Findings:
        """`files`: relative name to local file; `dataset`: split to (name, local file), empty for none.

        Raises InvalidArgument with the reason when the files are refused, DeadlineExceeded, ResourceExhausted.
        """


class ChildInspector:
    """An Inspector that gives each push a process of its own, with a limit on its memory and its time."""

    def __init__(self, memory_limit_bytes: int | None = None) -> None:
        self._memory_limit_bytes = memory_limit_bytes or psutil.virtual_memory().total * 3 // 4
        self._free = threading.BoundedSemaphore(_AT_ONCE)

    def inspect(
        self, files: Mapping[str, Path], dataset: Mapping[str, tuple[str, Path]], task: str, timeout_seconds: float
    ) -> Findings:
        """See Inspector."""
        timeout_seconds = min(timeout_seconds, _LONGEST_SECONDS)
        question = Question(
            files=dict(files),
            dataset={split: NamedFile(name=name, path=path) for split, (name, path) in dataset.items()},
            task=task,
            memory_limit_bytes=self._memory_limit_bytes,
            cpu_limit_seconds=int(_LONGEST_SECONDS),
        )
        if not self._free.acquire(timeout=timeout_seconds):
            raise ResourceExhausted("too many pushes are being inspected; try again")
        try:
            found = Answer.model_validate_json(_ask(question.model_dump_json(), timeout_seconds))
        finally:
            self._free.release()
        if found.problem:
            raise InvalidArgument(found.problem)
        return Findings(found.inspection, found.task, found.rows)


def _ask(question: str, timeout_seconds: float) -> bytes:
    try:
        child = subprocess.run(
            [sys.executable, "-m", "service.uploads.inspector"],
            input=question.encode(),
            capture_output=True,
            timeout=timeout_seconds,
            check=False,
            # More threads would only take address space from the limit.
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        )
    except subprocess.TimeoutExpired as error:
        raise DeadlineExceeded(f"the files could not be inspected within {timeout_seconds:.0f} s") from error
    if child.returncode < 0:
        raise ResourceExhausted("inspecting the files took too much memory or time; push smaller ones")
    if child.returncode:
        _LOG.error("inspection failed: %s", child.stderr.decode(errors="replace"))
        raise ServiceError("the files could not be inspected")
    return child.stdout
