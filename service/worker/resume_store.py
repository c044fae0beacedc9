"""Where unfinished passes keep what they go on from: resume/<job>-<ordinal>/, which outlives child, worker and scratch.

A child may write there, so nothing in it is ever read by us: it is weighed, handed to the next child of the same
trial, and removed. Links in it are neither followed nor kept.
"""

import contextlib
import os
import re
from collections.abc import Callable
from pathlib import Path

from service.worker.trial_directory import remove_tree

_NAME = re.compile(r"([0-9a-zA-Z]+)-([0-9]+)")


class ResumeStore:
    """The resume directories below one root. Several workers may share it: only the job's holder touches its own."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def open(self, job_id: str, ordinal: int) -> Path:
        """The trial's directory, made if it is not there. Raises OSError."""
        path = self._path(job_id, ordinal)
        if path.is_symlink() or (path.exists() and not path.is_dir()):
            path.unlink()
        path.mkdir(mode=0o700, exist_ok=True)
        # A child may have taken away its own rights.
        path.chmod(0o700)
        return path

    def forget(self, job_id: str, ordinal: int) -> None:
        """Removes the trial's directory: it has ended."""
        self._remove(self._path(job_id, ordinal))

    def collect(self, is_open: Callable[[str], bool]) -> list[str]:
        """Removes what belongs to no job that is still open, and returns the names."""
        gone = []
        for path in sorted(self._root.iterdir()):
            match = _NAME.fullmatch(path.name)
            if match is None or not is_open(match[1]):
                self._remove(path)
                gone.append(path.name)
        return gone

    def _path(self, job_id: str, ordinal: int) -> Path:
        return self._root / f"{job_id}-{ordinal}"

    def _remove(self, path: Path) -> None:
        if path.is_symlink() or not path.is_dir():
            with contextlib.suppress(OSError):
                path.unlink()
            return
        with contextlib.suppress(OSError):
            os.chmod(path, 0o700)
        remove_tree(path)
