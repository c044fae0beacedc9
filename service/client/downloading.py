"""Brings a variant's files here: every digest is verified before a directory of that name appears."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from service.client.resources import File
from service.errors import FailedPrecondition, ServiceError
from service.wire.stillroom.v1 import variant_service_pb2 as pb2

# Called with (name of the file, bytes that have arrived, size of the file), in the caller's thread.
Progress = Callable[[str, int, int], None]


def check_destination(directory: Path) -> None:
    """Raises FailedPrecondition unless `directory` is missing or empty."""
    if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise FailedPrecondition(f"{directory} exists and is not an empty directory; choose another one")


def _silent(name: str, done_bytes: int, size_bytes: int) -> None:
    """Progress that nobody asked for."""


def store(
    messages: Iterable[pb2.DownloadVariantResponse],
    expected: Iterable[File],
    directory: Path,
    progress: Progress = _silent,
) -> None:
    """Writes the files of a download into `directory`, which appears whole or not at all.

    Raises FailedPrecondition unless the directory is missing or empty, and ServiceError when a file is missing, is
    none of `expected`, or has other bytes than its digest says.
    """
    check_destination(directory)
    directory.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
    try:
        # mkdtemp's own directory is closed to others, which the result need not be.
        whole = scratch / "variant"
        whole.mkdir()
        _receive(messages, {file.path: file for file in expected}, whole, progress)
        whole.rename(directory)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _receive(
    messages: Iterable[pb2.DownloadVariantResponse], expected: dict[str, File], root: Path, progress: Progress
) -> None:
    missing = dict(expected)
    for name, pieces in by_file(messages):
        file = missing.pop(name, None)
        if file is None:
            raise ServiceError(f"the server sent {name!r}, which is not a file of this variant")
        path = root / _relative(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as stream:
            found = _write(pieces, stream, file, progress)
        if found != file.sha256:
            raise ServiceError(f"{name} arrived damaged: its sha256 is {found}, the server announced {file.sha256}")
    if missing:
        raise ServiceError(f"the download ended before {sorted(missing)[0]} had come")


def _write(pieces: Iterator[bytes], stream: IO[bytes], file: File, progress: Progress) -> str:
    """Writes one file; its sha256. Stops at the announced size: what goes on beyond it cannot be right."""
    digest = hashlib.sha256()
    done = 0
    for piece in pieces:
        done += len(piece)
        if done > file.size_bytes:
            raise ServiceError(f"{file.path} is longer than the {file.size_bytes} bytes that the server announced")
        stream.write(piece)
        digest.update(piece)
        progress(file.path, done, file.size_bytes)
    stream.flush()
    os.fsync(stream.fileno())
    return digest.hexdigest()


def by_file(messages: Iterable[pb2.DownloadVariantResponse]) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Splits a download into (name, pieces of its bytes); the pieces must be used up before the next file is asked for.

    Raises ServiceError when bytes come before the first file was named.
    """
    stream = iter(messages)
    head = next(stream, None)

    def pieces(first: pb2.DownloadVariantResponse) -> Iterator[bytes]:
        nonlocal head
        yield first.data
        for head in stream:
            if head.HasField("file"):
                return
            yield head.data
        head = None

    while head is not None:
        if not head.HasField("file"):
            raise ServiceError("the server sent bytes without saying of which file")
        yield head.file.path, pieces(head)


def _relative(name: str) -> Path:
    """A server's file name as a path that stays below the directory that it is joined to."""
    path = PurePosixPath(name)
    if path.is_absolute() or not path.parts or ".." in path.parts or "\\" in name or "\0" in name:
        raise ServiceError(f"the server sent the file name {name!r}, which leads out of the directory")
    return Path(*path.parts)
