"""Which differences a number of evaluation rows can tell apart at all: closed forms, asked before any work starts."""

import math
from collections.abc import Callable
from statistics import NormalDist

_BISECTIONS = 80


def resolvable_difference(n: int, discordance: float, power: float = 0.8) -> float:
    """Smallest margin at which `n` rows would show an equally good variant not inferior (one-sided 95%).

    `discordance` is the expected share of rows on which exactly one of the two is right, split evenly.
    """
    if n < 1 or not 0 <= discordance <= 1:
        raise ValueError(f"{n} rows with discordance {discordance}")

    def shortage(margin: float) -> float:
        needed = rows_that_decide(discordance / 2, discordance / 2, margin, power)
        return -1.0 if needed is not None and needed <= n else 1.0

    return root(shortage, 0.0, 1.0)


def tango(gained: float, lost: float, delta: float) -> float:
    """Tango's score statistic at the difference `delta`, per square root of a row; falls as `delta` grows."""
    # Maximum likelihood of the lost share under the constraint gained - lost = delta.
    b = (2 - gained + lost) * delta - gained - lost
    root = math.sqrt(max(0.0, b * b + 8 * lost * delta * (1 - delta)))
    constrained = max(0.0, (root - b) / 4)
    variance = 2 * constrained + delta * (1 - delta)
    distance = gained - lost - delta
    if variance <= 1e-15:
        return 0.0 if abs(distance) <= 1e-12 else math.copysign(math.inf, distance)
    return distance / math.sqrt(variance)


def rows_that_decide(gained: float, lost: float, margin: float, power: float = 0.8) -> int | None:
    """Rows after which the one-sided 95% bound clears -margin with the chance `power`; None where none would.

    `gained` and `lost` are the shares of rows that only the variant, or only the source, has right.
    """
    statistic = abs(tango(gained, lost, -margin))
    if statistic < 1e-6:
        return None
    normal = NormalDist()
    return max(1, math.ceil(((normal.inv_cdf(0.95) + normal.inv_cdf(power)) / statistic) ** 2))


def root(falling: Callable[[float], float], low: float, high: float) -> float:
    """Where a falling function crosses zero between `low` and `high` (the nearer end when it does not)."""
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if falling(middle) > 0:
            low = middle
        else:
            high = middle
    return (low + high) / 2
