"""Takes files out of a directory that a hostile process has written, and may be writing still.

Every directory is opened in the one before it and no link is followed, so what is read lies where it seems to lie.
Files are copied: the process may hold its own open, and must not change ours afterwards.
"""

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: opening a pipe must not wait for its other end.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_MAX_DEPTH = 4
_MAX_FILES = 1000
_COPY_BYTES = 2**20


class Tainted(Exception):
    """What lies there is not what an honest process writes; the message says why."""


@dataclass(frozen=True)
class Harvested:
    """A file that is ours now."""

    path: Path
    sha256: str
    size_bytes: int


def take_files(
    root: Path, folder: str, names: tuple[str, ...], into: Path, max_bytes: int, optional: tuple[str, ...] = ()
) -> dict[str, Harvested]:
    """Copies exactly the files `names` of root/folder into the new directory `into`, which is hashed on the way.

    Those that `optional` names may be missing. Only `root` itself is trusted. Raises Tainted when there is another
    file, one is missing, is not a regular file or has a second name, or all together are larger than `max_bytes`;
    OSError when the copy cannot be written.
    """
    into.mkdir(mode=0o700)
    with _open(root, folder) as directory:
        found = set(os.listdir(directory))
        names = (*names, *(name for name in optional if name in found))
        if found != set(names):
            odd = sorted(found.symmetric_difference(names))[0]
            raise Tainted(f"the result must consist of {', '.join(names)}; wrong is {odd[:100]!r}")
        taken = {}
        for name in names:
            taken[name] = _copy(directory, name, into / name, max_bytes)
            max_bytes -= taken[name].size_bytes
        return taken


def take_tree(root: Path, folders: tuple[str, ...], into: Path, max_bytes: int) -> int:
    """Copies the directory root/folders[0]/... as the new directory `into`; returns its size in bytes.

    Only `root` itself is trusted. Raises Tainted for anything but regular files and directories, or too many or too
    large ones; OSError when the copy cannot be written.
    """
    with _open(root, *folders) as directory:
        return sum(size for size in _copy_tree(directory, into, max_bytes, _MAX_DEPTH, [_MAX_FILES]))


def _copy_tree(directory: int, into: Path, max_bytes: int, depth: int, files_left: list[int]) -> Iterator[int]:
    if depth == 0:
        raise Tainted("directories are nested too deep")
    into.mkdir(mode=0o700)
    for name in sorted(os.listdir(directory)):
        files_left[0] -= 1
        if files_left[0] < 0:
            raise Tainted("there are too many files")
        if stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
            with _open_in(directory, name) as child:
                for size in _copy_tree(child, into / name, max_bytes, depth - 1, files_left):
                    max_bytes -= size
                    yield size
        else:
            size = _copy(directory, name, into / name, max_bytes).size_bytes
            max_bytes -= size
            yield size


def _copy(directory: int, name: str, target: Path, max_bytes: int) -> Harvested:
    with _open_file(directory, name) as source, target.open("xb") as copy:
        digest = hashlib.sha256()
        size_bytes = 0
        # Counted while reading: the file may grow under our hands.
        while piece := os.read(source, _COPY_BYTES):
            size_bytes += len(piece)
            if size_bytes > max_bytes:
                raise Tainted("the files are larger than a trial may write")
            digest.update(piece)
            copy.write(piece)
    return Harvested(target, digest.hexdigest(), size_bytes)


@contextmanager
def _open_file(directory: int, name: str) -> Iterator[int]:
    try:
        file = os.open(name, _FILE, dir_fd=directory)
    except OSError as error:
        raise Tainted(f"{name[:100]!r} is not a regular file") from error
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            raise Tainted(f"{name[:100]!r} is not a regular file")
        if status.st_nlink != 1:
            raise Tainted(f"{name[:100]!r} has a second name")
        yield file
    finally:
        os.close(file)


@contextmanager
def _open(root: Path, *folders: str) -> Iterator[int]:
    directory = os.open(root, _DIRECTORY)
    try:
        for folder in folders:
            deeper = _open_directory(directory, folder)
            os.close(directory)
            directory = deeper
        yield directory
    finally:
        os.close(directory)


@contextmanager
def _open_in(directory: int, name: str) -> Iterator[int]:
    child = _open_directory(directory, name)
    try:
        yield child
    finally:
        os.close(child)


def _open_directory(directory: int, name: str) -> int:
    try:
        return os.open(name, _DIRECTORY, dir_fd=directory)
    except OSError as error:
        raise Tainted(f"{name[:100]!r} is not a directory") from error
