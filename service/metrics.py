"""The engine's figures: recorded without locks to wait for, read by Prometheus and by ModelStatistics.

A servable has one Recorder. Its batcher records a whole batch at once; label look-ups happen when figures are read.
"""

import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector, CollectorRegistry

# From a tenth of a millisecond to half a minute, three steps a decade.
SECONDS_BOUNDS = (
    0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0,
)  # fmt: skip
ROWS_BOUNDS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)


class Histogram:
    """Counts by upper bound, and the sum; not for two threads at once."""

    __slots__ = ("_bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        """Adds one value."""
        self.counts[bisect_left(self._bounds, value)] += 1
        self.total += value

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative counts as Prometheus wants them."""
        result: list[tuple[str, float]] = []
        running = 0
        for bound, count in zip((*map(str, self._bounds), "+Inf"), self.counts, strict=True):
            running += count
            result.append((bound, running))
        return result


@dataclass
class BatchFigures:
    """Sums over the runs of one batch size, in nanoseconds."""

    count: int = 0
    batch_ns: int = 0
    compute_ns: int = 0
    answer_ns: int = 0


@dataclass
class Totals:
    """Sums since the servable was loaded, as ModelStatistics reports them. Times are in nanoseconds."""

    rows: int = 0
    successes: int = 0
    success_ns: int = 0
    failures: int = 0
    failure_ns: int = 0
    queue_ns: int = 0
    # A run's times count once for each request in it, as Triton counts them.
    batch_ns: int = 0
    compute_ns: int = 0
    answer_ns: int = 0
    last_ms: int = 0
    by_batch: dict[int, BatchFigures] = field(default_factory=dict)


class Recorder:
    """The figures of one servable. The batcher and the intake write, scrapes read."""

    def __init__(self, wall_clock: Callable[[], float] = time.time) -> None:
        self._wall_clock = wall_clock
        self._lock = threading.Lock()
        self._totals = Totals()
        self._codes: dict[str, int] = {}
        self._queue_seconds = Histogram(SECONDS_BOUNDS)
        self._compute_seconds = Histogram(SECONDS_BOUNDS)
        self._request_seconds = Histogram(SECONDS_BOUNDS)
        self._batch_rows = Histogram(ROWS_BOUNDS)

    def batch(
        self,
        rows: int,
        queue_ns: Sequence[int],
        batch_ns: int,
        compute_ns: int,
        answer_ns: int,
        request_ns: Sequence[int],
    ) -> None:
        """A run was answered: one queue and one request time for each request in it."""
        with self._lock:
            self._batch_rows.observe(rows)
            self._compute_seconds.observe(compute_ns / 1e9)
            for waited_ns, total_ns in zip(queue_ns, request_ns, strict=True):
                self._queue_seconds.observe(waited_ns / 1e9)
                self._request_seconds.observe(total_ns / 1e9)
            self._codes["OK"] = self._codes.get("OK", 0) + len(queue_ns)
            totals = self._totals
            totals.rows += rows
            totals.successes += len(queue_ns)
            totals.success_ns += sum(request_ns)
            totals.queue_ns += sum(queue_ns)
            totals.batch_ns += batch_ns * len(queue_ns)
            totals.compute_ns += compute_ns * len(queue_ns)
            totals.answer_ns += answer_ns * len(queue_ns)
            totals.last_ms = int(self._wall_clock() * 1000)
            figures = totals.by_batch.setdefault(rows, BatchFigures())
            figures.count += 1
            figures.batch_ns += batch_ns
            figures.compute_ns += compute_ns
            figures.answer_ns += answer_ns

    def failed(self, code: str, request_ns: int) -> None:
        """A request of this servable was answered with an error."""
        with self._lock:
            self._codes[code] = self._codes.get(code, 0) + 1
            self._totals.failures += 1
            self._totals.failure_ns += request_ns

    def totals(self) -> Totals:
        """A copy of the sums."""
        with self._lock:
            now = self._totals
            by_batch = {rows: BatchFigures(**vars(figures)) for rows, figures in now.by_batch.items()}
            return Totals(**{**vars(now), "by_batch": by_batch})

    def collect_requests(self, families: "_Families", labels: tuple[str, str]) -> None:
        """Adds the counts by status."""
        with self._lock:
            for code, count in self._codes.items():
                families.requests.add_metric((*labels, code), count)

    def collect(self, families: "_Families", labels: tuple[str, str]) -> None:
        """Adds all of this servable's samples."""
        self.collect_requests(families, labels)
        with self._lock:
            for family, histogram in (
                (families.queue_seconds, self._queue_seconds),
                (families.compute_seconds, self._compute_seconds),
                (families.request_seconds, self._request_seconds),
                (families.batch_rows, self._batch_rows),
            ):
                family.add_metric(labels, histogram.buckets(), histogram.total)


class _Families:
    """One scrape's metric families."""

    def __init__(self) -> None:
        labels = ("model", "variant")
        self.requests = CounterMetricFamily(
            "stillroom_requests", "Inference requests answered, by gRPC status.", labels=(*labels, "code")
        )
        self.request_seconds = HistogramMetricFamily(
            "stillroom_request_seconds", "From arrival to answer, successful requests.", labels=labels
        )
        self.queue_seconds = HistogramMetricFamily(
            "stillroom_queue_seconds", "Wait for a batch, a request.", labels=labels
        )
        self.compute_seconds = HistogramMetricFamily(
            "stillroom_compute_seconds", "Run of the model, a batch.", labels=labels
        )
        self.batch_rows = HistogramMetricFamily("stillroom_batch_rows", "Rows run together.", labels=labels)
        self.queue_depth = GaugeMetricFamily("stillroom_queue_depth", "Requests that wait now.", labels=labels)
        self.state = GaugeMetricFamily(
            "stillroom_servable_state", "1 for the state that a variant is in.", labels=(*labels, "state")
        )

    def __iter__(self) -> Iterator[Metric]:
        return iter(vars(self).values())


@dataclass(frozen=True)
class ServableSample:
    """What a scrape sees of one servable."""

    model: str
    variant: str
    state: str
    queue_depth: int
    recorder: Recorder


class EngineMetrics(Collector):
    """All figures of an engine, drawn up when somebody asks."""

    def __init__(
        self,
        registry: CollectorRegistry,
        build: dict[str, str],
        servables: Callable[[], Iterable[ServableSample]],
    ) -> None:
        self._build = build
        self._servables = servables
        # Requests that no servable can be blamed for, by status: an unknown model's name makes no label.
        self._unrouted = Recorder()
        registry.register(self)

    def refused(self, code: str) -> None:
        """A request failed before any variant was chosen for it."""
        self._unrouted.failed(code, 0)

    def collect(self) -> Iterator[Metric]:
        """Yields the families; called by the registry."""
        families = _Families()
        for sample in self._servables():
            labels = (sample.model, sample.variant)
            sample.recorder.collect(families, labels)
            families.queue_depth.add_metric(labels, sample.queue_depth)
            families.state.add_metric((*labels, sample.state), 1)
        self._unrouted.collect_requests(families, ("", ""))
        yield from families
        yield InfoMetricFamily("stillroom_build", "What runs here.", self._build)
