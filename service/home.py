"""Where state lies on disk: the layout of `--home`, and the sockets of one running installation."""

import hashlib
import os
import stat
import tempfile
from dataclasses import dataclass
from pathlib import Path

from service.errors import FailedPrecondition

# sockaddr_un holds 108 bytes; leave room for the longest socket name below.
_LONGEST_SOCKET_DIRECTORY = 80


@dataclass(frozen=True)
class Home:
    """Paths below a home directory. Constructing one touches nothing; `create` makes the folders."""

    root: Path

    @property
    def registry_url(self) -> str:
        """SQLAlchemy URL of the embedded registry."""
        return f"sqlite:///{self.root / 'registry.sqlite3'}"

    @property
    def blobs(self) -> Path:
        """Content-addressed files: blobs/<first two hex digits>/<sha256>."""
        return self.root / "blobs"

    @property
    def uploads(self) -> Path:
        """Unfinished uploads."""
        return self.root / "uploads"

    @property
    def cache(self) -> Path:
        """Finished optimizer steps: cache/<tenant>/<key>/."""
        return self.root / "cache"

    @property
    def scratch(self) -> Path:
        """One directory a running trial; removed when it ends."""
        return self.root / "scratch"

    @property
    def resume(self) -> Path:
        """What unfinished passes go on from: resume/<job>-<ordinal>/; removed when the trial ends."""
        return self.root / "resume"

    @property
    def studies(self) -> Path:
        """Storages of finished searches, for people: studies/<job>-<ordinal>/study.db. Never read by us."""
        return self.root / "studies"

    @property
    def run(self) -> Path:
        """Sockets and the engine's last table: `root/run`, or a short private path if that is too long."""
        local = self.root.resolve() / "run"
        if len(os.fsencode(local)) <= _LONGEST_SOCKET_DIRECTORY:
            return local
        name = hashlib.sha256(os.fsencode(self.root.resolve())).hexdigest()[:16]
        return Path(tempfile.gettempdir()) / f"stillroom-{os.getuid()}-{name}"

    @property
    def control_socket(self) -> Path:
        """Where control's gRPC server listens; the engine's front hands it what it does not serve itself."""
        return self.run / "control.sock"

    def engine_socket(self, index: int = 0) -> Path:
        """Where an engine listens for its desired state."""
        return self.run / f"engine-{index}.sock"

    @property
    def engine_table(self) -> Path:
        """The desired state that the engines of this host were last given."""
        return self.run / "desired-state.binpb"

    @property
    def lease(self) -> Path:
        """Machine-wide file lock between trainings (shared) and measurements (exclusive), one a user."""
        return Path(tempfile.gettempdir()) / f"stillroom-measure-{os.getuid()}.lock"

    def create(self) -> None:
        """Makes the folders, readable by their owner alone. Raises FailedPrecondition when they cannot be had."""
        try:
            for path in (
                self.root,
                self.blobs,
                self.uploads,
                self.cache,
                self.scratch,
                self.resume,
                self.studies,
                self.run,
            ):
                path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise FailedPrecondition(f"cannot create the home directory {self.root}: {error.strerror}") from error
        found = self.run.stat()
        if found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
            raise FailedPrecondition(f"{self.run} must belong to this user and be closed to others (mode 700)")
