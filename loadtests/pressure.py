"""How hard the load generator itself is pressed: a saturated generator measures itself, not the server."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import gevent

from loadtests.histogram import Histogram

_TICK_SECONDS = 0.01
# CPU shares of single seconds; shorter windows only show noise.
_WINDOW_SECONDS = 1.0


@dataclass(frozen=True)
class Pressure:
    """What a run asked of its generator."""

    # How late requests left, against their schedule; 0 in a closed loop, which has none.
    dispatch_lag_p99_ms: float
    # How late a greenlet that wanted to wake up did so.
    wake_lag_p99_ms: float
    # Busy share of one core, all threads of the process: over the run, and in its worst second.
    cpu_share: float
    cpu_share_worst: float


class PressureGauge:
    """Samples the process it lives in, from a greenlet of its own. `start`, then `stop`."""

    def __init__(
        self, clock: Callable[[], float] = time.perf_counter, cpu_seconds: Callable[[], float] = time.process_time
    ) -> None:
        self._clock = clock
        self._cpu_seconds = cpu_seconds
        self._dispatch = Histogram()
        self._wake = Histogram()
        self._shares: list[float] = []
        self._greenlet: gevent.Greenlet | None = None

    def dispatched(self, lag_seconds: float) -> None:
        """A request left so long after it was due."""
        self._dispatch.record(max(0.0, lag_seconds) * 1000)

    def start(self) -> None:
        """Begins to sample."""
        self._began = (self._clock(), self._cpu_seconds())
        self._greenlet = gevent.spawn(self._sample)

    def stop(self) -> Pressure:
        """Ends sampling and says what was seen."""
        if self._greenlet is not None:
            self._greenlet.kill()
        wall_seconds = self._clock() - self._began[0]
        share = (self._cpu_seconds() - self._began[1]) / wall_seconds if wall_seconds > 0 else 0.0
        return Pressure(
            dispatch_lag_p99_ms=self._dispatch.quantile(0.99) if self._dispatch.count else 0.0,
            wake_lag_p99_ms=self._wake.quantile(0.99) if self._wake.count else 0.0,
            cpu_share=share,
            cpu_share_worst=max([share, *self._shares]),
        )

    def _sample(self) -> None:
        window = (self._clock(), self._cpu_seconds())
        while True:
            slept_at = self._clock()
            gevent.sleep(_TICK_SECONDS)
            now = self._clock()
            self._wake.record(max(0.0, now - slept_at - _TICK_SECONDS) * 1000)
            if now - window[0] >= _WINDOW_SECONDS:
                cpu = self._cpu_seconds()
                self._shares.append((cpu - window[1]) / (now - window[0]))
                window = (now, cpu)
