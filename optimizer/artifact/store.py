"""The artefact store: immutable files, each known by the sha256 of its bytes."""

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from optimizer.artifact import digest
from optimizer.artifact.relative_path import check_distinct
from optimizer.errors import InvalidInput

_READ_ONLY = 0o444


class WrongDigest(InvalidInput):
    """A file's bytes have another sha256 than announced."""

    def __init__(self, announced: str, found: str) -> None:
        super().__init__(f"the bytes have sha256 {found}, announced was {announced}")


@dataclass(frozen=True)
class StoredFile:
    """What the store knows of one blob."""

    sha256: str
    size_bytes: int
    # Seconds since the epoch at which it was last put or touched.
    touched_at_seconds: float


class ArtifactStore(Protocol):
    """Content-addressed files. Implementations are safe to use from several threads and processes."""

    def put(self, temporary: Path, sha256: str, *, verified: bool = False) -> Path:
        """Moves a finished file in, durably, and returns where it is. Putting the same again is harmless.

        `verified` says that the caller has hashed these very bytes itself. Raises WrongDigest, or InvalidInput for
        a link or a device; the file is left alone then.
        """

    def path(self, sha256: str) -> Path:
        """Where the blob lies on this host, read-only. Raises FileNotFoundError when it is absent."""

    def has(self, sha256: str) -> bool:
        """Whether the blob is stored."""

    def stat(self, sha256: str) -> StoredFile:
        """Size and age. Raises FileNotFoundError when the blob is absent."""

    def touch(self, sha256: str) -> None:
        """Makes the blob as young as one just put: somebody is about to refer to it. Raises FileNotFoundError."""

    def delete(self, sha256: str) -> None:
        """Removes the blob, if it is there. Only the collector of unreferenced blobs may call this."""

    def digests(self) -> Iterator[str]:
        """All blobs that are stored, in no order."""


class DirectoryStore:
    """An ArtifactStore in a directory: root/<first two digits>/<sha256>. The root appears with the first blob."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, temporary: Path, sha256: str, *, verified: bool = False) -> Path:
        """See ArtifactStore."""
        target = self.location(sha256)
        if not stat.S_ISREG(temporary.lstat().st_mode):
            raise InvalidInput(f"{temporary.name!r} is not a regular file")
        if not verified:
            found = digest.of_file(temporary)
            if found != sha256:
                raise WrongDigest(sha256, found)
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            self.touch(sha256)
            temporary.unlink()
        except FileNotFoundError:
            os.chmod(temporary, _READ_ONLY)
            os.utime(temporary)
            _sync(temporary)
            _move(temporary, target)
        _sync(target.parent)
        _sync(self._root)
        return target

    def path(self, sha256: str) -> Path:
        """See ArtifactStore."""
        target = self.location(sha256)
        if not target.is_file():
            raise FileNotFoundError(errno.ENOENT, "no such blob", sha256)
        return target

    def has(self, sha256: str) -> bool:
        """See ArtifactStore."""
        return self.location(sha256).is_file()

    def stat(self, sha256: str) -> StoredFile:
        """See ArtifactStore."""
        found = self.location(sha256).stat()
        return StoredFile(sha256, found.st_size, found.st_mtime)

    def touch(self, sha256: str) -> None:
        """See ArtifactStore."""
        os.utime(self.location(sha256))

    def delete(self, sha256: str) -> None:
        """See ArtifactStore."""
        self.location(sha256).unlink(missing_ok=True)

    def digests(self) -> Iterator[str]:
        """See ArtifactStore."""
        if not self._root.is_dir():
            return
        for folder in self._root.iterdir():
            if folder.is_dir():
                yield from (path.name for path in folder.iterdir() if digest.is_sha256(path.name))

    def location(self, sha256: str) -> Path:
        """Where the blob lies, or would lie. Raises ValueError for what is no digest."""
        if not digest.is_sha256(sha256):
            raise ValueError(f"not a lower-case sha256: {sha256[:80]!r}")
        return self._root / sha256[:2] / sha256


def materialise(store: ArtifactStore, files: Iterable[Mapping[str, Any]], into: Path) -> None:
    """Writes files, given as {"path", "sha256"}, under their own names below the directory `into`, which is created.

    They are copies: a process that may write `into` must not reach a blob through a link. Raises InvalidInput for a
    path that is not strictly relative, FileNotFoundError for an absent blob.
    """
    wanted = [(str(file["path"]), str(file["sha256"])) for file in files]
    check_distinct([path for path, _ in wanted])
    into.mkdir(parents=True, exist_ok=True)
    for path, sha256 in wanted:
        target = into / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(store.path(sha256), target)


def _move(source: Path, target: Path) -> None:
    try:
        os.rename(source, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        # From another file system: copy beside the target, so that the last step is a rename again.
        beside = target.with_name(f".{target.name}.{secrets.token_hex(4)}")
        try:
            shutil.copyfile(source, beside)
            os.chmod(beside, _READ_ONLY)
            _sync(beside)
            os.rename(beside, target)
        finally:
            beside.unlink(missing_ok=True)
        source.unlink()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
