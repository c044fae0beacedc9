"""The unfinished file of one upload: appended to, and hashed as it grows."""

import errno
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from service.errors import ResourceExhausted

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_PIECE_BYTES = 1 << 20

Write = Callable[[int, bytes | memoryview], int]


class Part:
    """An open partial file. Used by one thread, as a context, under the upload's lock.

    What the file holds when it is opened counts as received: its digest is computed again from the disk.
    """

    def __init__(self, path: Path, write: Write = os.write) -> None:
        self._write = write
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_APPEND, 0o600)
        self._digest = hashlib.sha256()
        self._hashed_bytes = 0
        self.received_bytes = os.fstat(self._descriptor).st_size

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes the file; the bytes stay."""
        os.close(self._descriptor)

    def append(self, data: bytes) -> None:
        """Writes and hashes. Raises ResourceExhausted when the disk is full; what fitted is kept and counted."""
        self._catch_up()
        rest = memoryview(data)
        while rest:
            try:
                written = self._write(self._descriptor, rest)
            except OSError as error:
                if error.errno in _NO_SPACE:
                    raise ResourceExhausted(
                        f"the server's disk is full; {self.received_bytes} bytes are kept, go on from there later"
                    ) from error
                raise
            self._digest.update(rest[:written])
            self._hashed_bytes += written
            self.received_bytes += written
            rest = rest[written:]

    def sha256(self) -> str:
        """Hexadecimal digest of everything received."""
        self._catch_up()
        return self._digest.hexdigest()

    def sync(self) -> None:
        """Returns when everything received is on the disk."""
        os.fsync(self._descriptor)

    def drop(self) -> None:
        """Forgets all bytes."""
        os.ftruncate(self._descriptor, 0)
        self._digest = hashlib.sha256()
        self._hashed_bytes = self.received_bytes = 0

    def _catch_up(self) -> None:
        while self._hashed_bytes < self.received_bytes:
            piece = os.pread(self._descriptor, _PIECE_BYTES, self._hashed_bytes)
            self._digest.update(piece)
            self._hashed_bytes += len(piece)
