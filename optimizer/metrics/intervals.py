"""Confidence intervals of proportions, of paired differences and of medians, and the rows that a margin asks for.

All of them are closed forms or a bisection on floats: no randomness, so the same figures give the same interval.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, median

from optimizer.recipe.resolution import root, rows_that_decide, tango


@dataclass(frozen=True)
class Interval:
    """A point estimate with its two-sided interval; low <= value <= high."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class PairedCounts:
    """How two classifiers did on the same rows: `gained` rows only the variant has right, `lost` only the source."""

    n: int
    both: int
    gained: int
    lost: int

    def __post_init__(self) -> None:
        if self.n < 1 or min(self.both, self.gained, self.lost) < 0 or self.both + self.gained + self.lost > self.n:
            raise ValueError(f"counts do not fit together: {self}")

    @property
    def value(self) -> float:
        """The variant's share of right rows."""
        return (self.both + self.gained) / self.n

    @property
    def source_value(self) -> float:
        """The source's share of right rows."""
        return (self.both + self.lost) / self.n

    @property
    def discordance(self) -> float:
        """Share of rows on which exactly one of the two is right."""
        return (self.gained + self.lost) / self.n


def wilson(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """Score interval of a proportion (Wilson, JASA 22, 1927)."""
    if not 0 <= successes <= n or n < 1:
        raise ValueError(f"{successes} of {n} is no proportion")
    z = _two_sided(confidence)
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # At 0 and n the bound equals the share exactly; rounding must not push it past.
    return Interval(share, max(0.0, min(centre - half, share)), min(1.0, max(centre + half, share)))


def paired_difference(counts: PairedCounts, confidence: float = 0.95) -> Interval:
    """Score interval of the variant's share minus the source's, on the same rows (Tango, Stat. Med. 17, 1998).

    It stays meaningful with few discordant rows or none, where the usual Wald interval has no width. A one-sided 95%
    bound is a limit of the two-sided 90% interval.
    """
    z = _two_sided(confidence)
    gained, lost, n = counts.gained, counts.lost, counts.n
    difference = (gained - lost) / n

    def statistic(delta: float) -> float:
        return tango(gained / n, lost / n, delta) * math.sqrt(n)

    return Interval(
        difference,
        root(lambda delta: statistic(delta) - z, -1.0, difference),
        root(lambda delta: statistic(delta) + z, difference, 1.0),
    )


def rows_needed(counts: PairedCounts, margin: float, power: float = 0.8) -> int | None:
    """Evaluation rows after which the one-sided 95% bound clears -margin, if the shares stay those of `counts`.

    With the chance `power`, since fresh rows vary. Whether they would clear it upwards (not inferior) or downwards
    (inferior) is decided by the present difference; None when it lies on the margin itself, where no number decides.
    """
    return rows_that_decide(counts.gained / counts.n, counts.lost / counts.n, margin, power)


def median_interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """Median with its distribution-free interval of order statistics (Conover, Practical Nonparametric Statistics).

    The ranks come from the binomial distribution, so nothing is assumed of the noise but independence of the values.
    Raises ValueError when there are too few values for any such interval (fewer than 6 at 95%).
    """
    ordered = sorted(values)
    n = len(ordered)
    tail = (1 - confidence) / 2
    below = 0.0
    rank = 0
    while rank < n:
        below += math.comb(n, rank) / 2**n
        if below > tail:
            break
        rank += 1
    if rank == 0:
        raise ValueError(f"{n} values are too few for a {confidence:.0%} interval of the median")
    return Interval(median(ordered), ordered[rank - 1], ordered[n - rank])


def _two_sided(confidence: float) -> float:
    return NormalDist().inv_cdf(0.5 + confidence / 2)
