"""Uploads: every order of events ends in the right blob or in a clear refusal."""

import errno
import hashlib
import os
import shutil
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session, sessionmaker

from optimizer.artifact.store import DirectoryStore
from service.errors import Conflict, FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted
from service.home import Home
from service.registry.tables import Upload
from service.registry.uploads import UploadRecords
from service.uploads.receiver import MAX_CHUNK_BYTES, Chunk, Progress, Receiver

DATA = bytes(range(256)) * 8
SHA = hashlib.sha256(DATA).hexdigest()


def chunks(upload_id: str, data: bytes, start: int = 0, size: int = 300) -> Iterator[Chunk]:
    for offset in range(start, len(data), size):
        yield Chunk(upload_id, offset, data[offset : offset + size])


def announced(receiver: Receiver, data: bytes = DATA, tenant: str = "t") -> Progress:
    return receiver.announce(tenant, hashlib.sha256(data).hexdigest(), len(data))


def in_thread(receiver: Receiver, feed: Iterator[Chunk]) -> threading.Thread:
    thread = threading.Thread(target=lambda: receiver.receive("t", feed))
    thread.start()
    return thread


def test_a_whole_file_becomes_a_blob(receiver: Receiver, store: DirectoryStore, home: Home) -> None:
    upload = announced(receiver)
    assert (upload.received_bytes, upload.complete) == (0, False)
    done = receiver.receive("t", chunks(upload.upload_id, DATA))
    assert done == Progress(upload.upload_id, SHA, len(DATA), len(DATA), complete=True)
    assert store.path(SHA).read_bytes() == DATA
    assert receiver.progress("t", upload.upload_id) == done
    assert list(home.uploads.iterdir()) == []


def test_an_empty_file_needs_no_bytes(receiver: Receiver, store: DirectoryStore) -> None:
    assert announced(receiver, b"").complete
    assert store.path(hashlib.sha256(b"").hexdigest()).read_bytes() == b""


def test_a_file_that_the_tenant_has_need_not_be_sent(receiver: Receiver) -> None:
    receiver.receive("t", chunks(announced(receiver).upload_id, DATA))
    again = announced(receiver)
    assert (again.complete, again.received_bytes) == (True, len(DATA))
    with pytest.raises(InvalidArgument, match=f"has {len(DATA)} bytes"):
        receiver.announce("t", SHA, 5)


def test_knowing_a_digest_gives_nothing_of_another_tenants(receiver: Receiver) -> None:
    receiver.receive("t", chunks(announced(receiver).upload_id, DATA))
    other = announced(receiver, tenant="u")
    assert not other.complete
    assert receiver.receive("u", chunks(other.upload_id, DATA)).complete
    with pytest.raises(NotFound):
        receiver.progress("t", other.upload_id)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=600), size=st.integers(1, 99), stops=st.lists(st.integers(0, 600), max_size=4))
def test_any_interruptions_end_in_the_same_blob(
    receiver: Receiver, store: DirectoryStore, data: bytes, size: int, stops: list[int]
) -> None:
    upload = announced(receiver, data)
    for stop in (*sorted(stops), len(data)):
        begin = receiver.progress("t", upload.upload_id).received_bytes
        if begin < stop <= len(data):
            upload = receiver.receive("t", chunks(upload.upload_id, data[:stop], begin, size))
            assert upload.received_bytes == stop
    assert upload.complete
    assert store.path(upload.sha256).read_bytes() == data


def test_a_lost_connection_keeps_what_arrived(receiver: Receiver) -> None:
    def lost(upload_id: str) -> Iterator[Chunk]:
        yield from chunks(upload_id, DATA[:900])
        raise ConnectionResetError

    upload = announced(receiver)
    with pytest.raises(ConnectionResetError):
        receiver.receive("t", lost(upload.upload_id))
    assert receiver.progress("t", upload.upload_id).received_bytes == 900
    # Announcing the same file again finds it too, for a client that has forgotten the id.
    assert announced(receiver) == receiver.progress("t", upload.upload_id)
    assert receiver.receive("t", chunks(upload.upload_id, DATA, 900)).complete


@pytest.mark.parametrize("offset", [0, 500, 701, 5000])
def test_another_offset_is_refused_with_the_right_one(receiver: Receiver, offset: int) -> None:
    upload = announced(receiver)
    receiver.receive("t", chunks(upload.upload_id, DATA[:700]))
    with pytest.raises(FailedPrecondition, match="go on from offset 700"):
        receiver.receive("t", [Chunk(upload.upload_id, offset, b"x")])
    assert receiver.progress("t", upload.upload_id).received_bytes == 700


def test_a_wrong_digest_is_refused_and_the_bytes_dropped(receiver: Receiver, store: DirectoryStore) -> None:
    upload = announced(receiver)
    with pytest.raises(InvalidArgument, match=f"announced was {SHA}"):
        receiver.receive("t", chunks(upload.upload_id, DATA[::-1]))
    assert receiver.progress("t", upload.upload_id).received_bytes == 0
    assert not store.has(SHA)
    assert receiver.receive("t", chunks(upload.upload_id, DATA)).complete


def test_more_bytes_than_announced_are_refused(receiver: Receiver) -> None:
    upload = announced(receiver)
    with pytest.raises(InvalidArgument, match="more bytes than the 2048"):
        receiver.receive("t", chunks(upload.upload_id, DATA + b"x"))


def test_a_finished_upload_answers_again_but_takes_nothing(receiver: Receiver) -> None:
    upload = announced(receiver)
    done = receiver.receive("t", chunks(upload.upload_id, DATA))
    assert receiver.receive("t", [Chunk(upload.upload_id, len(DATA), b"")]) == done
    with pytest.raises(FailedPrecondition, match="go on from offset 2048"):
        receiver.receive("t", chunks(upload.upload_id, DATA))


@pytest.mark.parametrize(
    ("feed", "message"),
    [
        ([], "must name the upload"),
        ([Chunk("", 0, b"x")], "must name the upload"),
        ([Chunk("{id}", 0, b"x"), Chunk("other", 1, b"x")], "must not change"),
        ([Chunk("{id}", 0, bytes(MAX_CHUNK_BYTES + 1))], "at most 4194304 bytes"),
    ],
)
def test_malformed_streams_are_refused(receiver: Receiver, feed: list[Chunk], message: str) -> None:
    upload = announced(receiver)
    named = [Chunk(chunk.upload_id.format(id=upload.upload_id), chunk.offset, chunk.data) for chunk in feed]
    with pytest.raises(InvalidArgument, match=message):
        receiver.receive("t", named)


@pytest.mark.parametrize("upload_id", ["0" * 32, "../../etc/passwd", "\x00"])
def test_an_unknown_upload_is_not_found_and_leaves_no_file(receiver: Receiver, home: Home, upload_id: str) -> None:
    with pytest.raises(NotFound, match="announce the file again"):
        receiver.receive("t", [Chunk(upload_id, 0, b"x")])
    assert list(home.uploads.iterdir()) == []


@pytest.mark.parametrize(
    ("sha256", "size_bytes", "error", "message"),
    [
        (SHA.upper(), 1, InvalidArgument, "64 lower-case"),
        (SHA, -1, InvalidArgument, "negative"),
        (SHA, 0, InvalidArgument, "empty file"),
        (SHA, (1 << 20) + 1, ResourceExhausted, "max_upload_bytes = 1048576"),
    ],
)
def test_impossible_announcements_are_refused(
    receiver: Receiver, sha256: str, size_bytes: int, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        receiver.announce("t", sha256, size_bytes)


def test_a_disk_without_room_is_said_before_anything_is_sent(
    home: Home, store: DirectoryStore, records: UploadRecords
) -> None:
    receiver = Receiver(home.uploads, store, records, 1 << 20, free_bytes=lambda folder: 100)
    with pytest.raises(ResourceExhausted, match="no room for 2048 bytes"):
        announced(receiver)


def test_a_full_disk_keeps_what_fitted(home: Home, store: DirectoryStore, records: UploadRecords) -> None:
    room = 1000

    def write(descriptor: int, data: bytes | memoryview) -> int:
        nonlocal room
        if room == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = os.write(descriptor, data[:room])
        room -= written
        return written

    receiver = Receiver(home.uploads, store, records, 1 << 20, write=write)
    upload = announced(receiver)
    with pytest.raises(ResourceExhausted, match="1000 bytes are kept"):
        receiver.receive("t", chunks(upload.upload_id, DATA))
    room = 10_000
    assert receiver.receive("t", chunks(upload.upload_id, DATA, 1000)).complete


def test_a_second_writer_is_refused_and_the_first_goes_on(receiver: Receiver) -> None:
    upload = announced(receiver)
    writing, go_on = threading.Event(), threading.Event()

    def slow() -> Iterator[Chunk]:
        yield from chunks(upload.upload_id, DATA[:600])
        writing.set()
        assert go_on.wait(10)
        yield from chunks(upload.upload_id, DATA, 600)

    thread = in_thread(receiver, slow())
    assert writing.wait(10)
    with pytest.raises(Conflict, match="somebody else"):
        receiver.receive("t", chunks(upload.upload_id, DATA))
    # Whoever announces the same file meanwhile gets an upload of their own.
    assert announced(receiver).upload_id != upload.upload_id
    go_on.set()
    thread.join(10)
    assert receiver.progress("t", upload.upload_id).complete


class LockedRegistry(UploadRecords):
    """Fails where a process could die: after the blob is stored, before its row is."""

    locked = True

    def finish(self, tenant: str, upload_id: str) -> Upload:
        if self.locked:
            raise OperationalError("UPDATE", None, Exception("database is locked"))
        return super().finish(tenant, upload_id)


def test_nothing_is_lost_between_the_blob_and_its_row(
    home: Home, store: DirectoryStore, sessions: sessionmaker[Session]
) -> None:
    failing = LockedRegistry(sessions, lambda: datetime.now(UTC))
    receiver = Receiver(home.uploads, store, failing, 1 << 20)
    upload = announced(receiver)
    with pytest.raises(OperationalError):
        receiver.receive("t", chunks(upload.upload_id, DATA))
    assert receiver.progress("t", upload.upload_id).received_bytes == len(DATA)
    assert not receiver.progress("t", upload.upload_id).complete
    # A client that retries finishes it ...
    failing.locked = False
    assert receiver.receive("t", [Chunk(upload.upload_id, len(DATA), b"")]).complete


def test_recovery_finishes_what_was_verified(
    home: Home, store: DirectoryStore, sessions: sessionmaker[Session], records: UploadRecords
) -> None:
    failing = LockedRegistry(sessions, lambda: datetime.now(UTC))
    upload = announced(Receiver(home.uploads, store, failing, 1 << 20))
    with pytest.raises(OperationalError):
        Receiver(home.uploads, store, failing, 1 << 20).receive("t", chunks(upload.upload_id, DATA))
    # ... and so does the next process, even if the blob itself was not in the store yet.
    shutil.rmtree(home.blobs)
    restarted = Receiver(home.uploads, store, records, 1 << 20)
    assert restarted.recover() == 1
    assert restarted.progress("t", upload.upload_id).complete
    assert store.path(SHA).read_bytes() == DATA
    assert restarted.recover() == 0


def test_uploads_expire_when_no_byte_came_for_long(receiver: Receiver, home: Home) -> None:
    old, young = announced(receiver), announced(receiver, b"young")
    receiver.receive("t", chunks(old.upload_id, DATA[:10]))
    (home.uploads / f"{'f' * 32}.part").write_bytes(b"no row speaks of this")
    later = datetime.now(UTC) + timedelta(hours=2)
    assert receiver.expire(datetime.now(UTC), 3600) == []
    assert sorted(receiver.expire(later, 3600)) == sorted([old.upload_id, young.upload_id])
    assert list(home.uploads.iterdir()) == []
    with pytest.raises(NotFound):
        receiver.progress("t", old.upload_id)


def test_an_upload_that_is_being_written_does_not_expire(receiver: Receiver) -> None:
    upload = announced(receiver)

    def during() -> Iterator[Chunk]:
        yield from chunks(upload.upload_id, DATA[:600])
        assert receiver.expire(datetime.now(UTC) + timedelta(days=9), 3600) == []
        yield from chunks(upload.upload_id, DATA, 600)

    assert receiver.receive("t", during()).complete


def test_there_is_an_end_to_announcing(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.uploads.receiver.MAX_UNFINISHED", 2)
    for data in (b"a", b"b"):
        announced(receiver, data)
    with pytest.raises(ResourceExhausted, match="finish some first"):
        announced(receiver, b"c")


def test_the_part_is_private(receiver: Receiver, home: Home) -> None:
    upload = announced(receiver)
    receiver.receive("t", chunks(upload.upload_id, DATA[:10]))
    part: Path = home.uploads / f"{upload.upload_id}.part"
    assert part.stat().st_mode & 0o777 == 0o600
