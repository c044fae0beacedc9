"""Receives files: announces, appends, resumes, verifies, stores."""

import os
import secrets
import shutil
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from optimizer.artifact.digest import is_sha256, of_bytes
from optimizer.artifact.store import ArtifactStore
from service.errors import Conflict, FailedPrecondition, InvalidArgument, ResourceExhausted
from service.registry.tables import Upload
from service.registry.uploads import UploadRecords
from service.uploads.lock import exclusive
from service.uploads.part import Part, Write

# Files of an upload: bytes that arrive; bytes that were verified, until the registry knows; the store's own name of
# those; the writer's lock.
_PART, _DONE, _HANDED_OVER, _LOCK = ".part", ".done", ".blob", ".lock"

MAX_CHUNK_BYTES = 4 * 2**20
MAX_UNFINISHED = 1000


@dataclass(frozen=True)
class Chunk:
    """A piece of a file, as it arrives."""

    upload_id: str
    offset: int
    data: bytes


@dataclass(frozen=True)
class Progress:
    """How far an upload has come."""

    upload_id: str
    sha256: str
    size_bytes: int
    received_bytes: int
    complete: bool


class Receiver:
    """Turns streams of chunks into blobs. Thread-safe; several processes may share one directory.

    A process that dies at any moment leaves all that was received, and the next one goes on from there.
    """

    def __init__(
        self,
        folder: Path,
        store: ArtifactStore,
        records: UploadRecords,
        max_upload_bytes: int,
        *,
        write: Write = os.write,
        free_bytes: Callable[[Path], int] = lambda folder: shutil.disk_usage(folder).free,
    ) -> None:
        self._folder = folder
        self._store = store
        self._records = records
        self._max_upload_bytes = max_upload_bytes
        self._write = write
        self._free_bytes = free_bytes

    def announce(self, tenant: str, sha256: str, size_bytes: int) -> Progress:
        """Begins an upload, goes on with an unfinished one of the same file, or finds that nothing needs to be sent.

        Raises InvalidArgument, or ResourceExhausted for a file that is too large or a disk too full.
        """
        self._check_announcement(sha256, size_bytes)
        blob = self._records.blobs(tenant, [sha256]).get(sha256)
        if blob is not None and self._store.has(sha256):
            if blob.size_bytes != size_bytes:
                raise InvalidArgument(f"the file with sha256 {sha256} has {blob.size_bytes} bytes, not {size_bytes}")
            self._store.touch(sha256)
            return self._progress(self._records.add(tenant, secrets.token_hex(16), sha256, size_bytes, complete=True))
        for row in self._records.unfinished(tenant, sha256, size_bytes):
            if not self._is_being_written(row.id):
                return self._progress(row)
        if self._records.count_unfinished(tenant) >= MAX_UNFINISHED:
            raise ResourceExhausted(f"more than {MAX_UNFINISHED} uploads are unfinished; finish some first")
        if self._free_bytes(self._folder) < size_bytes:
            raise ResourceExhausted(f"the server's disk has no room for {size_bytes} bytes")
        row = self._records.add(tenant, secrets.token_hex(16), sha256, size_bytes)
        return self._progress(row) if size_bytes else self.receive(tenant, [Chunk(row.id, 0, b"")])

    def progress(self, tenant: str, upload_id: str) -> Progress:
        """How far the upload has come. Raises NotFound."""
        return self._progress(self._records.get(tenant, upload_id))

    def receive(self, tenant: str, chunks: Iterable[Chunk]) -> Progress:
        """Appends chunks, the first of which names the upload, until they end; finishes the upload if it is whole.

        Returns when everything that it reports is on the disk. An exception out of `chunks` passes through, and what
        had arrived before stays. Raises InvalidArgument for bytes that cannot belong to the announced file (they are
        dropped if the digest is wrong), FailedPrecondition for another offset than the next one, Conflict when another
        writer is at it, ResourceExhausted when the disk is full, NotFound.
        """
        remaining = iter(chunks)
        first = next(remaining, None)
        if first is None or not first.upload_id:
            raise InvalidArgument("the first message must name the upload (upload_id)")
        self._records.get(tenant, first.upload_id)
        with self._lock(first.upload_id):
            # Again, now that nobody else can change it.
            row = self._records.get(tenant, first.upload_id)
            if row.complete or self._file(row.id, _DONE).exists():
                _expect_offset(first, row.size_bytes)
                return self._finish(row)
            with Part(self._file(row.id, _PART), self._write) as part:
                self._append(part, row, first)
                for chunk in remaining:
                    self._append(part, row, chunk)
                part.sync()
                if part.received_bytes < row.size_bytes:
                    return Progress(row.id, row.sha256, row.size_bytes, part.received_bytes, complete=False)
                found = part.sha256()
                if found != row.sha256:
                    part.drop()
                    raise InvalidArgument(
                        f"the bytes have sha256 {found}, announced was {row.sha256}; "
                        "they were dropped, start again at offset 0"
                    )
            os.rename(self._file(row.id, _PART), self._file(row.id, _DONE))
            return self._finish(row)

    def recover(self) -> int:
        """Finishes uploads that were verified when the process died; says how many. Call it once, at start."""
        rows = {row.id: row for row in self._records.all()}
        verified = [rows[done.stem] for done in self._folder.glob(f"*{_DONE}") if done.stem in rows]
        for row in verified:
            with self._lock(row.id):
                self._finish(row)
        return len(verified)

    def expire(self, now: datetime, expiry_seconds: float) -> list[str]:
        """Forgets uploads without a byte for so long, and files that no row speaks of; returns the uploads' ids."""
        oldest = now.timestamp() - expiry_seconds
        expired = []
        rows = {row.id: row for row in self._records.all()}
        for upload_id in {*rows, *(path.stem for path in self._folder.iterdir())}:
            announced = rows[upload_id].created_at.timestamp() if upload_id in rows else 0.0
            with suppress(Conflict), self._lock(upload_id):
                files = [self._file(upload_id, suffix) for suffix in (_PART, _DONE, _HANDED_OVER)]
                touched = [path.stat().st_mtime for path in files if path.exists()]
                if max((announced, *touched)) < oldest:
                    for path in files:
                        path.unlink(missing_ok=True)
                    if upload_id in rows:
                        self._records.forget(upload_id)
                        expired.append(upload_id)
        return expired

    def _check_announcement(self, sha256: str, size_bytes: int) -> None:
        if not is_sha256(sha256):
            raise InvalidArgument("sha256 must be 64 lower-case hexadecimal digits")
        if size_bytes < 0:
            raise InvalidArgument("size_bytes must not be negative")
        if size_bytes > self._max_upload_bytes:
            raise ResourceExhausted(
                f"a file of {size_bytes} bytes is larger than this server accepts "
                f"(max_upload_bytes = {self._max_upload_bytes})"
            )
        if size_bytes == 0 and sha256 != of_bytes(b""):
            raise InvalidArgument("an empty file has another sha256")

    def _append(self, part: Part, row: Upload, chunk: Chunk) -> None:
        if chunk.upload_id not in ("", row.id):
            raise InvalidArgument("one stream carries one upload; upload_id must not change")
        if len(chunk.data) > MAX_CHUNK_BYTES:
            raise InvalidArgument(f"a message may carry at most {MAX_CHUNK_BYTES} bytes, not {len(chunk.data)}")
        _expect_offset(chunk, part.received_bytes)
        if part.received_bytes + len(chunk.data) > row.size_bytes:
            raise InvalidArgument(f"more bytes than the {row.size_bytes} that were announced")
        part.append(chunk.data)

    def _finish(self, row: Upload) -> Progress:
        done = self._file(row.id, _DONE)
        if done.exists():
            # The store takes a second name of the file, so that `done` speaks for the bytes until the row is there.
            handed_over = self._file(row.id, _HANDED_OVER)
            handed_over.unlink(missing_ok=True)
            os.link(done, handed_over)
            self._store.put(handed_over, row.sha256, verified=True)
        self._records.finish(row.tenant, row.id)
        done.unlink(missing_ok=True)
        return Progress(row.id, row.sha256, row.size_bytes, row.size_bytes, complete=True)

    def _progress(self, row: Upload) -> Progress:
        if row.complete or self._file(row.id, _DONE).exists():
            return Progress(row.id, row.sha256, row.size_bytes, row.size_bytes, row.complete)
        try:
            received = self._file(row.id, _PART).stat().st_size
        except FileNotFoundError:
            received = 0
        return Progress(row.id, row.sha256, row.size_bytes, received, complete=False)

    def _is_being_written(self, upload_id: str) -> bool:
        try:
            with self._lock(upload_id):
                return False
        except Conflict:
            return True

    def _lock(self, upload_id: str) -> AbstractContextManager[None]:
        return exclusive(self._file(upload_id, _LOCK), "this upload")

    def _file(self, upload_id: str, suffix: str) -> Path:
        return self._folder / f"{upload_id}{suffix}"


def _expect_offset(chunk: Chunk, stored_bytes: int) -> None:
    if chunk.offset != stored_bytes:
        raise FailedPrecondition(
            f"the message begins at offset {chunk.offset}, but {stored_bytes} bytes are stored; "
            f"go on from offset {stored_bytes}"
        )
