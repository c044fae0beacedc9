"""Where the files of one running trial lie: what the child may read, where it may write, and what we took from it."""

import contextlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class TrialDirectory:
    """Paths below one directory. Constructing it touches nothing."""

    root: Path

    @property
    def spec(self) -> Path:
        """The TrialSpec as JSON; read-only for the child."""
        return self.root / "spec.json"

    @property
    def packages(self) -> Path:
        """Links to our packages, the child's import path; read-only for the child."""
        return self.root / "packages"

    @property
    def checkpoint(self) -> Path:
        """The materialised checkpoint; read-only for the child."""
        return self.root / "input" / "checkpoint"

    @property
    def dataset(self) -> Path:
        """The data set's files; read-only for the child."""
        return self.root / "input" / "dataset"

    @property
    def source(self) -> Path:
        """The source variant's files; read-only for the child."""
        return self.root / "input" / "source"

    @property
    def baseline(self) -> Path:
        """The answers of an earlier revision's variant; read-only for the child."""
        return self.root / "input" / "baseline"

    @property
    def scratch(self) -> Path:
        """All that the child may write: TrialSpec.scratch, and its working directory."""
        return self.root / "scratch"

    @property
    def harvest(self) -> Path:
        """Results that were taken out of the scratch directory; out of the child's reach."""
        return self.root / "harvest"

    def create(self) -> None:
        """Makes the directories that must exist before the child starts. Raises OSError."""
        for path in (self.root, self.root / "input", self.scratch, self.scratch / "home", self.scratch / "tmp"):
            path.mkdir(mode=0o700)
        self.harvest.mkdir(mode=0o700)


def remove_tree(directory: Path) -> None:
    """Removes a directory that a process of ours wrote, also where it took its own rights away. Links stay links."""
    for folder, names, _ in os.walk(directory):
        for path in (os.path.join(folder, name) for name in names):
            if not os.path.islink(path):
                with contextlib.suppress(OSError):
                    os.chmod(path, 0o700)
    shutil.rmtree(directory, ignore_errors=True)
