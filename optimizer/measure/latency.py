"""Latency of a session, and how many times faster it is than another, from alternating pairs on the same inputs."""

import gc
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median

import numpy as np

from optimizer.artifact.manifest import Estimate, Percentiles
from optimizer.measure.noise import variation
from optimizer.metrics.intervals import median_interval

Call = Callable[[], object]
Clock = Callable[[], int]

# An interval of the median ratio needs pairs; these are run whatever they cost.
LEAST_PAIRS = 20
_MOST_PAIRS = 60
_MOST_CALLS_A_BLOCK = 200
_WARM_UP_CALLS = 3
_WARM_UP_SECONDS = 0.05


@dataclass
class _Side:
    """One of the two that are compared, and how long each of its calls took."""

    call: Call
    nanoseconds: list[int] = field(default_factory=list)

    def block(self, calls: int, clock: Clock) -> float:
        """Times `calls` calls one by one; returns their median."""
        taken = []
        for _ in range(calls):
            begin = clock()
            self.call()
            taken.append(clock() - begin)
        self.nanoseconds.extend(taken)
        return median(taken)


def time_alone(call: Call, budget_seconds: float, clock: Clock = time.perf_counter_ns) -> Percentiles:
    """Percentiles of one call, over about `budget_seconds`, but at least 20 calls. The garbage collector rests."""
    side = _Side(call)
    with _quiet():
        _warm_up(call, clock)
        end = clock() + int(budget_seconds * 1e9)
        while len(side.nanoseconds) < LEAST_PAIRS or (
            clock() < end and len(side.nanoseconds) < _MOST_PAIRS * _MOST_CALLS_A_BLOCK
        ):
            side.block(1, clock)
    return percentiles(side.nanoseconds)


def time_pair(
    call: Call, source: Call, budget_seconds: float, clock: Clock = time.perf_counter_ns
) -> tuple[Percentiles, Estimate]:
    """Percentiles of `call`, and the ratio source's time / its time with a 95% interval (above 1: `call` is faster).

    A pair is a block of calls of one side and a block of the other; who begins changes from pair to pair, so that a
    host that slows down favours nobody. A pair's ratio is that of the two blocks' medians, and the interval is the
    distribution-free one of the median ratio. About `budget_seconds` long, but at least 20 pairs.
    """
    side, other = _Side(call), _Side(source)
    ratios: list[float] = []
    with _quiet():
        expected = _warm_up(call, clock) + _warm_up(source, clock)
        calls = max(1, min(_MOST_CALLS_A_BLOCK, int(budget_seconds * 1e9 / (expected * 1.5 * LEAST_PAIRS))))
        end = clock() + int(budget_seconds * 1e9)
        while len(ratios) < LEAST_PAIRS or (clock() < end and len(ratios) < _MOST_PAIRS):
            if len(ratios) % 2:
                mine = side.block(calls, clock)
                theirs = other.block(calls, clock)
            else:
                theirs = other.block(calls, clock)
                mine = side.block(calls, clock)
            ratios.append(theirs / max(mine, 1))
    interval = median_interval(ratios)
    speedup = Estimate(name="speedup", value=interval.value, low=interval.low, high=interval.high, n=len(ratios))
    return percentiles(side.nanoseconds), speedup


def percentiles(nanoseconds: list[int]) -> Percentiles:
    """p50, p95 and p99 in milliseconds. With fewer than 100 calls the p99 is (nearly) the slowest of them."""
    p50, p95, p99 = np.percentile(np.array(nanoseconds, np.float64) / 1e6, [50, 95, 99])
    return Percentiles(
        p50_ms=float(p50), p95_ms=float(p95), p99_ms=float(p99), n=len(nanoseconds), variation=variation(nanoseconds)
    )


def _warm_up(call: Call, clock: Clock) -> float:
    """Calls until kernels, caches and threads are awake; returns the fastest call's nanoseconds."""
    begin = clock()
    fastest = float("inf")
    calls = 0
    while calls < _WARM_UP_CALLS or (clock() - begin < _WARM_UP_SECONDS * 1e9 and calls < _MOST_CALLS_A_BLOCK):
        start = clock()
        call()
        fastest = min(fastest, clock() - start)
        calls += 1
    return max(fastest, 1.0)


@contextmanager
def _quiet() -> Iterator[None]:
    # A collection in the middle of a 30-microsecond call would be the whole p99.
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
