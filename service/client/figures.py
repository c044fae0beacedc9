"""Figures that were measured of a variant, as the client hands them out."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """A measured quality with its two-sided 95% interval over `n` rows."""

    name: str
    value: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Speedup:
    """How many times faster than the source, with a 95% interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Latency:
    """Time of one call at one batch size, in milliseconds."""

    batch: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    # None for the source itself.
    speedup: Speedup | None


@dataclass(frozen=True)
class Against:
    """A comparison with a variant of an earlier revision."""

    variant: str
    metric: Metric
    # The variant's metric minus that one's on the same rows; a paired interval.
    difference: Metric
