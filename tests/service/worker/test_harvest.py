"""Only regular files, where they seem to lie, come out of a directory that a stranger wrote."""

import hashlib
import os
import socket
from pathlib import Path

import pytest

from service.worker.harvest import Harvested, Tainted, take_files, take_tree

NAMES = ("a", "b")


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """A scratch directory with two honest files in `result`, and a secret beside it."""
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "a").write_text("secret")
    (tmp_path / "hidden" / "b").write_text("secret")
    root = tmp_path / "scratch"
    (root / "result").mkdir(parents=True)
    (root / "result" / "a").write_bytes(b"first")
    (root / "result" / "b").write_bytes(b"second")
    return root


def test_honest_files_are_copied_and_hashed(scratch: Path, tmp_path: Path) -> None:
    into = tmp_path / "into"
    taken = take_files(scratch, "result", NAMES, into, 100)
    assert taken == {
        "a": Harvested(into / "a", hashlib.sha256(b"first").hexdigest(), 5),
        "b": Harvested(into / "b", hashlib.sha256(b"second").hexdigest(), 6),
    }
    # What happens to the original afterwards does not matter.
    (scratch / "result" / "a").write_bytes(b"other")
    assert (into / "a").read_bytes() == b"first"


def _link(path: Path, scratch: Path) -> None:
    path.unlink()
    path.symlink_to(scratch.parent / "secret")


def _hard_link(path: Path, scratch: Path) -> None:
    path.unlink()
    os.link(scratch.parent / "secret", path)


def _pipe(path: Path, scratch: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _socket(path: Path, scratch: Path) -> None:
    path.unlink()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


def _directory(path: Path, scratch: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("spoil", [_link, _hard_link, _pipe, _socket, _directory])
def test_anything_but_a_plain_file_is_refused(scratch: Path, tmp_path: Path, spoil: object) -> None:
    assert callable(spoil)
    spoil(scratch / "result" / "b", scratch)
    with pytest.raises(Tainted, match=r"'b' (is not a regular file|has a second name)"):
        take_files(scratch, "result", NAMES, tmp_path / "into", 100)


@pytest.mark.parametrize("folder", ["result", "steps"])
def test_a_directory_that_is_a_link_is_not_entered(scratch: Path, tmp_path: Path, folder: str) -> None:
    (scratch / "result").rename(scratch / "moved")
    (scratch / folder).symlink_to(tmp_path / "hidden")
    with pytest.raises(Tainted, match="is not a directory"):
        take_files(scratch, folder, NAMES, tmp_path / "into", 100)
    with pytest.raises(Tainted, match="is not a directory"):
        take_tree(scratch, (folder,), tmp_path / "tree", 100)


def test_a_missing_and_a_surplus_file_are_named(scratch: Path, tmp_path: Path) -> None:
    with pytest.raises(Tainted, match="'c'"):
        take_files(scratch, "result", (*NAMES, "c"), tmp_path / "one", 100)
    (scratch / "result" / "surplus").touch()
    with pytest.raises(Tainted, match="'surplus'"):
        take_files(scratch, "result", NAMES, tmp_path / "two", 100)
    with pytest.raises(Tainted, match="'nothing' is not a directory"):
        take_files(scratch, "nothing", NAMES, tmp_path / "three", 100)


def test_an_optional_file_may_be_there_or_not(scratch: Path, tmp_path: Path) -> None:
    assert set(take_files(scratch, "result", ("a",), tmp_path / "one", 100, optional=("b", "c"))) == {"a", "b"}
    with pytest.raises(Tainted, match="'b'"):
        take_files(scratch, "result", ("a",), tmp_path / "two", 100, optional=("c",))
    with pytest.raises(Tainted, match="'c'"):
        take_files(scratch, "result", ("a", "c"), tmp_path / "three", 100, optional=("b",))


def test_all_files_together_are_bounded(scratch: Path, tmp_path: Path) -> None:
    take_files(scratch, "result", NAMES, tmp_path / "fits", 11)
    with pytest.raises(Tainted, match="larger than a trial may write"):
        take_files(scratch, "result", NAMES, tmp_path / "large", 10)
    with pytest.raises(Tainted, match="larger than a trial may write"):
        take_tree(scratch, ("result",), tmp_path / "tree", 10)


def test_a_tree_comes_with_its_directories(scratch: Path, tmp_path: Path) -> None:
    nested = scratch / "steps" / "key" / "deep"
    nested.mkdir(parents=True)
    (nested / "file").write_bytes(b"12345")
    (scratch / "steps" / "key" / "top").write_bytes(b"123")
    assert take_tree(scratch, ("steps", "key"), tmp_path / "into", 100) == 8
    assert (tmp_path / "into" / "deep" / "file").read_bytes() == b"12345"


@pytest.mark.parametrize("spoil", [_link, _hard_link, _pipe])
def test_a_tree_holds_plain_files_only(scratch: Path, tmp_path: Path, spoil: object) -> None:
    assert callable(spoil)
    nested = scratch / "steps" / "key" / "deep"
    nested.mkdir(parents=True)
    (nested / "file").touch()
    spoil(nested / "file", scratch)
    with pytest.raises(Tainted):
        take_tree(scratch, ("steps", "key"), tmp_path / "into", 100)


def test_a_tree_is_neither_deep_nor_crowded(scratch: Path, tmp_path: Path) -> None:
    (scratch / "steps" / "deep" / "a" / "b" / "c" / "d").mkdir(parents=True)
    with pytest.raises(Tainted, match="too deep"):
        take_tree(scratch, ("steps", "deep"), tmp_path / "one", 100)
    crowded = scratch / "steps" / "crowded"
    crowded.mkdir()
    for number in range(1001):
        (crowded / str(number)).touch()
    with pytest.raises(Tainted, match="too many"):
        take_tree(scratch, ("steps", "crowded"), tmp_path / "two", 100)
