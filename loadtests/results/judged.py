"""One variant's figures as the page of results shows them, from `stillroom variants --json`."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

# The chance that the rows asked for decide, as in the gate.
_POWER = 0.8


@dataclass(frozen=True)
class Interval:
    """A figure with its 95% interval."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, value: Mapping[str, Any] | None) -> "Interval | None":
        """From JSON; None stays None."""
        return None if value is None else cls(float(value["value"]), float(value["low"]), float(value["high"]))


@dataclass(frozen=True)
class Row:
    """A variant (or a peer's model) on one field's evaluation rows."""

    name: str
    verdict: str
    metric: Interval | None
    difference: Interval | None
    n: int
    # How many times faster than the source at batch 1, and how many times smaller.
    speedup: Interval | None
    smaller: float
    # Who made it: "stillroom", "onnxruntime", "nncf".
    maker: str = "stillroom"

    def rows_needed(self, margin: float) -> int | None:
        """Evaluation rows that show an equally good model not inferior at `margin` (one-sided 95%, power 80%)."""
        return None if self.difference is None else rows_needed(self.difference, self.n, margin)

    def is_not_inferior(self, margin: float) -> bool:
        """Whether the one-sided 95% bound of the difference lies above -margin."""
        if self.difference is None:
            return False
        spread = self.difference.value - self.difference.low
        normal = NormalDist()
        return self.difference.value - spread * normal.inv_cdf(0.95) / normal.inv_cdf(0.975) > -margin


def rows_needed(difference: Interval, n: int, margin: float) -> int:
    """From the width of a paired interval over `n` rows: the width falls with the root of the rows."""
    normal = NormalDist()
    deviation = (difference.high - difference.low) / (2 * normal.inv_cdf(0.975)) * math.sqrt(n)
    return max(1, math.ceil(((normal.inv_cdf(0.95) + normal.inv_cdf(_POWER)) * deviation / margin) ** 2))


def row_of(variant: Mapping[str, Any], source_bytes: int) -> Row:
    """A variant's row. `source_bytes` is the size of the source's file."""
    metric = variant["metric"]
    return Row(
        name=str(variant["name"]),
        verdict=str(variant["verdict"]),
        metric=Interval.of(metric),
        difference=Interval.of(variant["difference"]),
        n=0 if metric is None else int(metric["n"]),
        speedup=Interval.of((variant["speedup"] or {}).get("1")),
        smaller=source_bytes / int(variant["size_bytes"]),
    )
