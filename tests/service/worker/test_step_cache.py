"""Kept steps are found again, bounded in size, and whole or not there."""

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.worker.harvest import Tainted
from service.worker.step_cache import Entry, StepCache, to_evict

entries = st.lists(st.builds(Entry, st.just(Path("x")), st.integers(0, 100), st.integers(0, 1000)), max_size=20)


@given(entries, st.integers(0, 500))
def test_what_stays_fits_and_is_the_newest(found: list[Entry], limit: int) -> None:
    evicted = to_evict(found, limit)
    kept = list(found)
    for entry in evicted:
        kept.remove(entry)
    assert sum(entry.size_bytes for entry in kept) <= limit
    if evicted and kept:
        assert min(entry.used_at_ns for entry in kept) >= max(entry.used_at_ns for entry in evicted)
    if evicted:
        newest = max(evicted, key=lambda entry: entry.used_at_ns)
        assert sum(entry.size_bytes for entry in kept) + newest.size_bytes > limit


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """A trial's scratch directory with finished steps "one" and "two" of a hundred kilobytes each."""
    for name in ("one", "two"):
        (tmp_path / "scratch" / "steps" / name).mkdir(parents=True)
        (tmp_path / "scratch" / "steps" / name / "file").write_bytes(os.urandom(100_000))
    return tmp_path / "scratch"


def test_a_step_is_kept_and_found_by_its_tenant(tmp_path: Path, scratch: Path) -> None:
    cache = StepCache(tmp_path / "cache", 10**6)
    assert cache.find("t", ["one"]) == {}
    cache.keep("t", "one", scratch, 10**6)
    assert cache.find("t", ["one", "two"]) == {"one": tmp_path / "cache" / "t" / "one"}
    assert cache.find("other", ["one"]) == {}
    original = (scratch / "steps" / "one" / "file").read_bytes()
    assert (tmp_path / "cache" / "t" / "one" / "file").read_bytes() == original


def test_what_was_kept_first_stays(tmp_path: Path, scratch: Path) -> None:
    cache = StepCache(tmp_path / "cache", 10**6)
    cache.keep("t", "one", scratch, 10**6)
    kept = (tmp_path / "cache" / "t" / "one" / "file").read_bytes()
    (scratch / "steps" / "one" / "file").write_bytes(b"changed")
    cache.keep("t", "one", scratch, 10**6)
    assert (tmp_path / "cache" / "t" / "one" / "file").read_bytes() == kept


def test_a_tainted_step_leaves_nothing_behind(tmp_path: Path, scratch: Path) -> None:
    (scratch / "steps" / "one" / "link").symlink_to("/etc/passwd")
    cache = StepCache(tmp_path / "cache", 10**6)
    with pytest.raises(Tainted):
        cache.keep("t", "one", scratch, 10**6)
    with pytest.raises(Tainted):
        cache.keep("t", "two", scratch, 10)
    assert list((tmp_path / "cache" / "t").iterdir()) == []


def test_the_least_recently_used_step_goes_first(tmp_path: Path, scratch: Path) -> None:
    cache = StepCache(tmp_path / "cache", 150_000)
    for name in ("one", "two"):
        cache.keep("t", name, scratch, 10**6)
        os.utime(tmp_path / "cache" / "t" / name, (1, 1))
    cache.find("t", ["one"])
    cache.evict()
    assert list(cache.find("t", ["one", "two"])) == ["one"]


def test_what_a_killed_worker_left_half_done_goes_after_a_while(tmp_path: Path) -> None:
    cache = StepCache(tmp_path / "cache", 10**6)
    old, young = (tmp_path / "cache" / "t" / name for name in (".old.1", ".young.1"))
    for path in (old, young):
        path.mkdir(parents=True)
    os.utime(old, (1, 1))
    cache.evict()
    assert not old.exists()
    assert young.exists()
