"""Only blobs that nothing refers to, and nobody has touched for long, are collected."""

import hashlib
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.orm import Session, sessionmaker

from optimizer.artifact.store import DirectoryStore, StoredFile
from service.home import Home
from service.registry.models import ModelRecords, NewCheckpoint, NewDataset
from service.registry.uploads import UploadRecords
from service.uploads.collector import MIN_AGE_SECONDS, collect, unreferenced
from service.uploads.receiver import Chunk, Receiver

digests = st.text("0123456789abcdef", min_size=64, max_size=64)
stored = st.builds(StoredFile, digests, st.integers(0, 10), st.floats(0, 1000))


@given(st.lists(stored, unique_by=lambda blob: blob.sha256), st.sets(digests), st.floats(0, 1000), st.floats(0, 1000))
def test_the_choice(blobs: list[StoredFile], others: set[str], now: float, min_age: float) -> None:
    referenced = others | {blob.sha256 for blob in blobs[::2]}
    chosen = unreferenced(blobs, referenced, now, min_age)
    assert not referenced & set(chosen)
    age = {blob.sha256: now - blob.touched_at_seconds for blob in blobs}
    assert all(age[sha256] > min_age for sha256 in chosen)
    assert {sha256 for sha256 in age if age[sha256] > min_age} - referenced == set(chosen)
    assert [age[sha256] for sha256 in chosen] == sorted((age[sha256] for sha256 in chosen), reverse=True)


def put(store: DirectoryStore, folder: Path, data: bytes) -> str:
    path = folder / "blob"
    path.write_bytes(data)
    sha256 = hashlib.sha256(data).hexdigest()
    store.put(path, sha256)
    os.utime(store.path(sha256), (1, 1))
    return sha256


def test_references_of_every_kind_protect(
    home: Home, tmp_path: Path, store: DirectoryStore, records: UploadRecords, sessions: sessionmaker[Session]
) -> None:
    models = ModelRecords(sessions, lambda: datetime.now(UTC))
    kept: dict[str, Any] = {name: put(store, tmp_path, name.encode()) for name in ("weights", "rows", "announced")}
    gone = [put(store, tmp_path, data) for data in (b"orphan", b"another")]
    checkpoint = NewCheckpoint("onnx", "d" * 64, [{"path": "a", "sha256": kept["weights"], "size_bytes": 7}], {})
    dataset = NewDataset("e" * 64, {"all": {"path": "r", "sha256": kept["rows"], "size_bytes": 4, "rows": 1}})
    models.push("t", "m", "agreement", checkpoint, dataset)
    records.add("t", "1" * 32, kept["announced"], 9)
    records.add("t", "2" * 32, gone[0], 6)
    records.finish("t", "2" * 32)
    assert records.blobs("t", [gone[0]])
    records.forget("2" * 32)
    assert sorted(collect(store, records, lambda: datetime.now(UTC))) == sorted(gone)
    assert set(store.digests()) == set(kept.values())
    # Its row has gone with it, so that nobody is told that it need not be sent.
    assert not records.blobs("t", [gone[0]])
    assert collect(store, records, lambda: datetime.now(UTC)) == []


def test_the_young_stay_and_a_repeated_announcement_makes_young(
    home: Home, store: DirectoryStore, records: UploadRecords
) -> None:
    receiver = Receiver(home.uploads, store, records, 1 << 20)
    data, sha256 = b"data", hashlib.sha256(b"data").hexdigest()
    upload = receiver.announce("t", sha256, len(data))
    receiver.receive("t", [Chunk(upload.upload_id, 0, data)])
    records.forget(upload.upload_id)
    os.utime(store.path(sha256), (1, 1))
    again = receiver.announce("t", sha256, len(data))
    assert again.complete
    records.forget(again.upload_id)
    assert collect(store, records, lambda: datetime.now(UTC)) == []
    later = datetime.now(UTC) + timedelta(seconds=MIN_AGE_SECONDS + 60)
    assert collect(store, records, lambda: later) == [sha256]
