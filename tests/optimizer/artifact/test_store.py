"""The directory store: nothing half, nothing twice, nothing writable."""

import hashlib
import os
import stat
import threading
from pathlib import Path

import pytest

from optimizer.artifact import store as store_module
from optimizer.artifact.store import DirectoryStore, WrongDigest, materialise
from optimizer.errors import InvalidInput


def written(folder: Path, data: bytes, name: str = "file") -> tuple[Path, str]:
    path = folder / name
    path.write_bytes(data)
    return path, hashlib.sha256(data).hexdigest()


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "blobs")


def test_an_empty_store_has_nothing(store: DirectoryStore) -> None:
    assert list(store.digests()) == []
    assert not store.has("0" * 64)
    with pytest.raises(FileNotFoundError):
        store.path("0" * 64)


def test_put_moves_the_file_in_read_only(store: DirectoryStore, tmp_path: Path) -> None:
    source, sha256 = written(tmp_path, b"weights")
    target = store.put(source, sha256)
    assert target == store.path(sha256) == tmp_path / "blobs" / sha256[:2] / sha256
    assert target.read_bytes() == b"weights"
    assert stat.S_IMODE(target.stat().st_mode) == 0o444
    assert not source.exists()
    assert list(store.digests()) == [sha256]
    assert store.stat(sha256).size_bytes == 7


def test_put_again_is_harmless_and_makes_the_blob_young(store: DirectoryStore, tmp_path: Path) -> None:
    source, sha256 = written(tmp_path, b"weights")
    os.utime(store.put(source, sha256), (1, 1))
    source, _ = written(tmp_path, b"weights")
    store.put(source, sha256)
    assert not source.exists()
    assert store.stat(sha256).touched_at_seconds > 1e9


def test_a_wrong_digest_is_refused_and_the_file_left_alone(store: DirectoryStore, tmp_path: Path) -> None:
    source, sha256 = written(tmp_path, b"weights")
    with pytest.raises(WrongDigest, match=sha256):
        store.put(source, "0" * 64)
    assert source.read_bytes() == b"weights"
    assert list(store.digests()) == []


def test_verified_skips_the_second_reading(
    store: DirectoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, sha256 = written(tmp_path, b"weights")
    monkeypatch.setattr(store_module.digest, "of_file", lambda path: pytest.fail("read again"))
    assert store.put(source, sha256, verified=True).exists()


def test_a_link_is_never_stored(store: DirectoryStore, tmp_path: Path) -> None:
    source, sha256 = written(tmp_path, b"weights")
    link = tmp_path / "link"
    link.symlink_to(source)
    with pytest.raises(InvalidInput, match="not a regular file"):
        store.put(link, sha256)


@pytest.mark.parametrize("name", ["../../etc/passwd", "A" * 64, "0" * 63, ""])
def test_only_digests_are_names(store: DirectoryStore, name: str) -> None:
    with pytest.raises(ValueError, match="not a lower-case sha256"):
        store.has(name)


def test_delete_is_idempotent(store: DirectoryStore, tmp_path: Path) -> None:
    source, sha256 = written(tmp_path, b"weights")
    store.put(source, sha256)
    store.delete(sha256)
    store.delete(sha256)
    assert not store.has(sha256)


def test_a_file_from_another_file_system_is_copied_in(
    store: DirectoryStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, sha256 = written(tmp_path, b"weights")
    rename = os.rename

    def across(old: Path, new: Path) -> None:
        if Path(old) == source:
            raise OSError(18, "Invalid cross-device link")
        rename(old, new)

    monkeypatch.setattr(os, "rename", across)
    target = store.put(source, sha256)
    assert target.read_bytes() == b"weights"
    assert stat.S_IMODE(target.stat().st_mode) == 0o444
    assert not source.exists()
    assert [path.name for path in target.parent.iterdir()] == [sha256]


def test_many_putters_of_one_blob_all_succeed(store: DirectoryStore, tmp_path: Path) -> None:
    sources = [written(tmp_path, b"weights", str(number)) for number in range(8)]
    failures: list[BaseException] = []

    def put(source: Path, sha256: str) -> None:
        try:
            store.put(source, sha256)
        except OSError as error:
            failures.append(error)

    threads = [threading.Thread(target=put, args=source) for source in sources]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert list(store.digests()) == [sources[0][1]]


def test_materialise_writes_copies_under_their_names(store: DirectoryStore, tmp_path: Path) -> None:
    source, sha256 = written(tmp_path, b"weights")
    store.put(source, sha256)
    into = tmp_path / "checkpoint"
    materialise(store, [{"path": "a/b.bin", "sha256": sha256}, {"path": "c", "sha256": sha256}], into)
    assert (into / "a" / "b.bin").read_bytes() == (into / "c").read_bytes() == b"weights"
    (into / "c").write_bytes(b"changed")
    assert store.path(sha256).read_bytes() == b"weights"


def test_materialise_refuses_a_path_that_leaves(store: DirectoryStore, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput):
        materialise(store, [{"path": "../x", "sha256": "0" * 64}], tmp_path / "into")
    assert not (tmp_path / "into").exists()
