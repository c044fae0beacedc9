"""The probability that a split drifts as far from its weights by chance as it did."""

import math
from collections.abc import Sequence


def chi_square_p(counts: Sequence[int], shares: Sequence[float]) -> float:
    """Pearson's goodness of fit: the chance of counts at least this uneven if `shares` (summing to 1) are the truth."""
    if len(counts) != len(shares) or len(counts) < 2:
        raise ValueError("as many counts as shares are needed, and at least two")
    total = sum(counts)
    statistic = sum((count - total * share) ** 2 / (total * share) for count, share in zip(counts, shares, strict=True))
    return chi_square_tail(statistic, len(counts) - 1)


def smallest_expected(counts: Sequence[int], shares: Sequence[float]) -> float:
    """The rarest category's expected count; below five the chi-square distribution is no good approximation."""
    return sum(counts) * min(shares)


def chi_square_tail(statistic: float, degrees: int) -> float:
    """P(X > statistic) for chi-square with `degrees` of freedom, by the recurrence over degrees two apart."""
    if statistic <= 0:
        return 1.0
    half = statistic / 2
    tail, reached = (math.erfc(math.sqrt(half)), 1) if degrees % 2 else (math.exp(-half), 2)
    while reached < degrees:
        tail += math.exp(reached / 2 * math.log(half) - half - math.lgamma(reached / 2 + 1))
        reached += 2
    return min(1.0, tail)
