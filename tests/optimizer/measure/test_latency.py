"""Timing with a clock of its own: alternation, intervals, and budgets."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from optimizer.measure.latency import LEAST_PAIRS, percentiles, time_alone, time_pair


class Host:
    """A clock that only calls move; the k-th call of all takes its cost times `drift(k)`."""

    def __init__(self, drift: Callable[[int], float] = lambda call: 1.0) -> None:
        self.now_ns = 0
        self.order: list[str] = []
        self._drift = drift

    def clock(self) -> int:
        return self.now_ns

    def call(self, name: str, cost_ns: int) -> Callable[[], None]:
        def run() -> None:
            self.order.append(name)
            self.now_ns += int(cost_ns * self._drift(len(self.order)))

        return run


def test_a_ratio_is_the_sources_time_over_the_variants() -> None:
    host = Host()
    taken, speedup = time_pair(host.call("variant", 1_000_000), host.call("source", 2_500_000), 0.1, host.clock)
    assert (speedup.value, speedup.low, speedup.high) == (2.5, 2.5, 2.5)
    assert speedup.n >= LEAST_PAIRS
    assert (taken.p50_ms, taken.p99_ms) == (1.0, 1.0)


def test_who_begins_changes_from_pair_to_pair() -> None:
    host = Host()
    time_pair(host.call("v", 10_000_000), host.call("s", 10_000_000), 0.1, host.clock)
    measured = "".join(host.order)[-2 * LEAST_PAIRS :]
    assert measured == "svvs" * (LEAST_PAIRS // 2)


def test_a_host_that_slows_down_favours_nobody() -> None:
    host = Host(drift=lambda call: 1 + call / 100)
    _, speedup = time_pair(host.call("v", 1_000_000), host.call("s", 1_000_000), 0.01, host.clock)
    assert speedup.low <= 1 <= speedup.high


def test_slow_models_get_their_pairs_and_no_more() -> None:
    host = Host()
    _, speedup = time_pair(host.call("v", 10**9), host.call("s", 10**9), 0.5, host.clock)
    assert speedup.n == LEAST_PAIRS


@settings(max_examples=12)
@given(st.integers(50_000, 10_000_000), st.integers(50_000, 10_000_000))
def test_quick_models_stay_near_the_budget(cost_ns: int, source_ns: int) -> None:
    host = Host()
    taken, speedup = time_pair(host.call("v", cost_ns), host.call("s", source_ns), 0.5, host.clock)
    pairs_ns = LEAST_PAIRS * (cost_ns + source_ns)
    assert host.now_ns < 1.6 * max(0.5e9, pairs_ns) + 0.3e9 + 10 * (cost_ns + source_ns)
    assert LEAST_PAIRS <= speedup.n <= taken.n


def test_a_model_alone_is_timed_for_its_budget() -> None:
    host = Host()
    taken = time_alone(host.call("v", 1_000_000), 0.2, host.clock)
    assert taken.n == pytest.approx(200, abs=2)
    assert time_alone(host.call("v", 10**9), 0.2, host.clock).n == LEAST_PAIRS


def test_the_garbage_collector_rests_and_wakes() -> None:
    import gc

    seen: list[bool] = []
    host = Host()

    def call() -> None:
        seen.append(gc.isenabled())
        host.now_ns += 1_000_000

    time_alone(call, 0.0, host.clock)
    assert not any(seen)
    assert gc.isenabled()


def test_percentiles_are_in_milliseconds() -> None:
    taken = percentiles([number * 1_000_000 for number in range(1, 102)])
    assert (taken.p50_ms, taken.p95_ms, taken.p99_ms, taken.n) == (51.0, 96.0, 100.0, 101)
