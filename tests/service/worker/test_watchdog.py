"""What is too much, and how much there is."""

import os
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from service.worker.trial_directory import TrialDirectory, remove_tree
from service.worker.watchdog import Limits, Usage, excess, size_of

LIMITS = Limits(memory_bytes=2**20, wall_seconds=10.0, scratch_bytes=2**21, processes=3)
usages = st.builds(Usage, st.integers(0, 2**22), st.floats(0, 20), st.integers(0, 2**22), st.integers(0, 5))


@given(usages)
def test_a_trial_is_ended_exactly_when_it_exceeds_a_limit(usage: Usage) -> None:
    within = (
        usage.memory_bytes <= LIMITS.memory_bytes
        and usage.wall_seconds <= LIMITS.wall_seconds
        and usage.scratch_bytes <= LIMITS.scratch_bytes
        and usage.processes <= LIMITS.processes
    )
    assert (excess(usage, LIMITS) is None) == within


def test_the_reason_names_the_limit() -> None:
    assert excess(Usage(memory_bytes=2**21), LIMITS) == "out of memory: limit 1 MiB"
    assert excess(Usage(wall_seconds=11), LIMITS) == "out of time: limit 10 seconds"
    assert excess(Usage(scratch_bytes=2**22), LIMITS) == "out of scratch space: limit 2 MiB"
    assert excess(Usage(processes=4), LIMITS) == "too many processes: limit 3"


def test_a_directorys_size_is_what_it_takes_on_disk(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "file").write_bytes(os.urandom(100_000))
    (tmp_path / "link").symlink_to("/usr/bin/python3")
    # A file of holes takes no room, whatever its length says.
    with (tmp_path / "sparse").open("wb") as stream:
        stream.truncate(10**9)
    assert 100_000 <= size_of(tmp_path) < 200_000
    assert size_of(tmp_path / "nothing") == 0


def test_a_closed_directory_is_removed_too(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir(mode=0o750)
    directory = TrialDirectory(tmp_path / "trial")
    directory.create()
    (directory.scratch / "closed" / "deep").mkdir(parents=True)
    (directory.scratch / "link").symlink_to(outside)
    (directory.scratch / "closed").chmod(0)
    remove_tree(directory.root)
    assert not directory.root.exists()
    assert outside.stat().st_mode & 0o777 == 0o750
    remove_tree(directory.root)
