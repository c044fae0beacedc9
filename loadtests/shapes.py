"""When requests are sent in an open loop: schedules that do not wait for answers."""

import itertools
import random
from collections.abc import Iterator
from typing import Literal

Arrivals = Literal["poisson", "constant", "closed"]


def constant(rate_per_second: float) -> Iterator[float]:
    """Seconds since the start at which requests are due, evenly spaced, without end."""
    _check(rate_per_second)
    return (number / rate_per_second for number in itertools.count())


def poisson(rate_per_second: float, source: random.Random) -> Iterator[float]:
    """The same for independent users: the gaps are exponential, so bursts come as they do from a crowd."""
    _check(rate_per_second)
    return itertools.accumulate(source.expovariate(rate_per_second) for _ in itertools.count())


def due(arrivals: Arrivals, rate_per_second: float, source: random.Random) -> Iterator[float]:
    """The schedule of that name. A closed loop has none: its users send when they have been answered."""
    match arrivals:
        case "poisson":
            return poisson(rate_per_second, source)
        case "constant":
            return constant(rate_per_second)
        case "closed":
            raise ValueError("a closed loop has no schedule")


def sustainable(capacity_per_second: float, share: float = 0.5, most_per_second: float = 500.0) -> float:
    """The rate to drive: a share of what a few users reached, and never so much that Locust itself is what is measured.

    On two cores Locust saturates near 1,500 calls a second, and adds milliseconds long before.
    """
    return max(1.0, min(most_per_second, share * capacity_per_second))


def _check(rate_per_second: float) -> None:
    if not rate_per_second > 0:
        raise ValueError(f"a rate must be above 0, not {rate_per_second}")
