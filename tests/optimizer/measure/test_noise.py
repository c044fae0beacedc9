"""When figures of time are called spoiled: pure, on counters that are made up."""

from collections.abc import Iterator

import pytest

from optimizer.measure.noise import Watch, busy_seconds, noise_of, variation, watched


def test_a_quiet_host_is_not_accused() -> None:
    found = noise_of({1: 0.03, 8: 0.05}, Watch(other_cores=0.1, host_cores=2), threads=2)
    assert (found.spoiled, found.sentence, found.variation, found.other_cores) == (False, "", 0.05, 0.1)


def test_other_processes_spoil_only_where_cores_are_wanting() -> None:
    crowded = noise_of({1: 0.03}, Watch(other_cores=1.3, host_cores=2), threads=2)
    assert crowded.spoiled
    assert "other processes used 1.3 of the host's 2 cores" in crowded.sentence
    assert not noise_of({1: 0.03}, Watch(other_cores=1.3, host_cores=64), threads=2).spoiled
    assert not noise_of({1: 0.03}, Watch(other_cores=None, host_cores=2), threads=2).spoiled


def test_blocks_that_vary_are_named_by_their_batch() -> None:
    found = noise_of({1: 0.03, 8: 0.4}, Watch(), threads=1)
    assert (
        found.sentence == "The latencies were spoiled while they were taken: blocks of calls at batch 8 varied by 40%."
    )


def test_variation_is_of_blocks_and_not_of_single_calls() -> None:
    assert variation([100, 102] * 100) == pytest.approx(0.0)
    assert variation([100] * 399 + [100_000]) == pytest.approx(0.0)
    assert variation([100] * 100 + [200] * 100) == pytest.approx(1 / 3)
    assert variation([5]) == 0.0


def test_what_others_used_is_all_work_less_our_own() -> None:
    busy: Iterator[float] = iter([1000.0, 1004.0])
    clock: Iterator[float] = iter([10.0, 12.0])
    with watched(lambda: next(busy), lambda: next(clock)) as watch:
        pass
    assert watch.other_cores == pytest.approx(2.0, abs=0.05)
    assert watch.host_cores >= 1


def test_a_host_that_does_not_tell_is_no_error() -> None:
    def closed() -> float:
        raise PermissionError("/proc/stat")

    with watched(closed) as watch:
        pass
    assert watch.other_cores is None


def test_the_hosts_own_counter_grows() -> None:
    began = busy_seconds()
    sum(range(3_000_000))
    assert busy_seconds() >= began > 0
