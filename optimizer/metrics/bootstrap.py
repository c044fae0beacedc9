"""The paired bootstrap: a metric's values on rows drawn again with replacement, the same draws for both models.

Efron (Ann. Stat. 7, 1979). Rows of one group are drawn together, since they are no independent witnesses (the cluster
bootstrap; Davison and Hinkley 1997, section 3.8). Percentiles are expanded for few rows (Hesterberg, Am. Stat. 69,
2015), without which the interval of a mean is too narrow by the factor sqrt((n - 1) / n) and the normal's thin tails.
"""

import math
from collections.abc import Iterator
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from optimizer.metrics.answers import Floats
from optimizer.metrics.intervals import Interval
from optimizer.metrics.scoring import Scoring

DRAWS = 2000
# Weights in memory at once.
_CHUNK = 2_000_000


def metric_draws(
    scoring: Scoring, sides: list[Floats], group: NDArray[Any] | None, seed: int, draws: int = DRAWS
) -> list[Floats]:
    """The metric [draws] of each of the models whose statistics [rows, k] are `sides`, row by row the same rows.

    `group` [rows] says which rows belong together. The same seed gives the same draws.
    """
    chunks = [
        [scoring.values(statistics, weights) for statistics in sides]
        for weights in weights_of(len(sides[0]), group, seed, draws)
    ]
    return [np.concatenate(parts) for parts in zip(*chunks, strict=True)]


def weights_of(rows: int, group: NDArray[Any] | None, seed: int, draws: int) -> Iterator[Floats]:
    """How often each row is drawn, in chunks [some draws, rows]."""
    units, member = rows, None
    if group is not None:
        names, member = np.unique(group, return_inverse=True)
        units = len(names)
    random = np.random.default_rng(seed)
    at_once = max(1, _CHUNK // max(rows, 1))
    for start in range(0, draws, at_once):
        count = min(at_once, draws - start)
        drawn = random.integers(0, units, (count, units), dtype=np.int32)
        weights = np.stack([np.bincount(draw, minlength=units) for draw in drawn]).astype(np.float64)
        yield weights if member is None else weights[:, member]


def independent(rows: int, group: NDArray[Any] | None) -> int:
    """How many independent witnesses the rows are."""
    return rows if group is None else len(np.unique(group))


def percentile_interval(value: float, drawn: Floats, units: int, confidence: float = 0.95) -> Interval:
    """The expanded percentile interval of a figure that is `value` on all rows; `units` were drawn independently."""
    tail = (1 - confidence) / 2
    # A single witness says nothing of how much others would vary.
    freedom = max(units - 1, 1)
    stretched = float(student.ppf(tail, freedom)) * math.sqrt(max(units, 2) / freedom)
    tail = NormalDist().cdf(stretched)
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return Interval(value, min(float(low), value), max(float(high), value))
