"""A mergeable histogram of latencies with a fixed relative resolution, for figures that a verdict rests on.

Buckets grow by one percent from one microsecond on, so a quantile is off by at most half a percent at any scale, and
histograms of different seconds, users or processes add up exactly. It is the log-linear idea of HDR histograms (Tene)
with purely logarithmic edges, which need no configuration.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Self

_GROWTH = 1.01
_LOG_GROWTH = math.log(_GROWTH)
_SMALLEST_MS = 0.001


class Histogram:
    """Counts of latencies in milliseconds. Not safe to share between threads."""

    def __init__(self, counts: Mapping[int, int] | None = None) -> None:
        self._counts: Counter[int] = Counter(counts or {})

    @classmethod
    def of(cls, latencies_ms: Iterable[float]) -> Self:
        """A histogram of these latencies."""
        made = cls()
        for latency_ms in latencies_ms:
            made.record(latency_ms)
        return made

    def record(self, latency_ms: float) -> None:
        """Counts one latency; what is below a microsecond counts as one. Raises ValueError for NaN and infinity."""
        if not math.isfinite(latency_ms):
            raise ValueError(f"{latency_ms} is no latency")
        self._counts[math.floor(math.log(max(latency_ms, _SMALLEST_MS) / _SMALLEST_MS) / _LOG_GROWTH)] += 1

    def merge(self, other: "Histogram") -> None:
        """Adds the other's counts to this one."""
        self._counts.update(other._counts)

    @property
    def count(self) -> int:
        """Latencies recorded."""
        return self._counts.total()

    def quantile(self, share: float) -> float:
        """The latency in milliseconds that `share` (0 to 1) of the recorded ones do not exceed; NaN if there are none.

        It is the nearest-rank quantile, given as the middle of its bucket.
        """
        if not 0 <= share <= 1:
            raise ValueError(f"{share} is no share")
        rank = max(1, math.ceil(share * self.count))
        seen = 0
        for bucket in sorted(self._counts):
            seen += self._counts[bucket]
            if seen >= rank:
                return _SMALLEST_MS * math.exp((bucket + 0.5) * _LOG_GROWTH)
        return math.nan

    def to_json(self) -> dict[str, int]:
        """Bucket numbers (as text, since JSON wants it so) to counts."""
        return {str(bucket): count for bucket, count in sorted(self._counts.items())}

    @classmethod
    def from_json(cls, counts: Mapping[str, int]) -> Self:
        """What `to_json` wrote."""
        return cls({int(bucket): int(count) for bucket, count in counts.items()})

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Histogram) and +self._counts == +other._counts

    __hash__ = None  # type: ignore[assignment]  # Mutable.
