"""How a metric on some rows is stated with its interval, and how a variant's compares with its source's.

A share of rows that are right has Wilson's interval, and Tango's for the difference of two. Every other metric, and any
metric on rows that come in groups, has a bootstrap's (2000 draws, seeded).
"""

from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from optimizer.metrics import intervals
from optimizer.metrics.answers import Floats
from optimizer.metrics.bootstrap import DRAWS, independent, metric_draws, percentile_interval
from optimizer.metrics.intervals import Interval, PairedCounts, paired_difference, wilson
from optimizer.metrics.scoring import Scoring
from optimizer.recipe.resolution import resolvable_difference

# Chance with which the rows that are asked for would decide.
_POWER = 0.8


@dataclass(frozen=True)
class Paired:
    """A variant against its source on the same rows.

    `loss_bounds` is the two-sided 90% interval of the change for the better: the difference, with its sign turned where
    less is better, and as a share of the source's value where the metric has no upper end (RMSE, perplexity). Its
    limits are the one-sided 95% bounds that the gate holds against the margin.
    """

    metric: str
    n: int
    value: float
    source_value: float
    # Of value - source_value, in the metric's own unit; two-sided, 95%.
    difference: Interval
    loss_bounds: Interval
    # Whether `loss_bounds` is a share of the source's value.
    relative: bool
    # Of a plain share of right rows, else None.
    counts: PairedCounts | None = None
    # Whether rows came in groups, so that `counts` alone says too little.
    grouped: bool = False

    @property
    def _error(self) -> float:
        """Standard error of the change for the better, from the width of its interval."""
        width = self.loss_bounds.high - self.loss_bounds.low
        return width / (2 * NormalDist().inv_cdf(0.95))

    def rows_needed(self, margin: float) -> int | None:
        """Evaluation rows after which the margin would be decided, with the chance 0.8; None: no number decides.

        An interval's width falls with the square root of the rows.
        """
        if self.counts is not None and not self.grouped:
            return intervals.rows_needed(self.counts, margin, _POWER)
        distance = abs(self.loss_bounds.value + margin)
        if distance < 1e-9:
            return None
        normal = NormalDist()
        ratio = (normal.inv_cdf(0.95) + normal.inv_cdf(_POWER)) * self._error / distance
        return max(1, int(np.ceil(self.n * ratio**2)))

    @property
    def resolvable(self) -> float:
        """Smallest margin at which so many rows would show an equally good variant not inferior."""
        if self.counts is not None and not self.grouped:
            return resolvable_difference(self.n, self.counts.discordance, _POWER)
        normal = NormalDist()
        return (normal.inv_cdf(0.95) + normal.inv_cdf(_POWER)) * self._error


def stated(scoring: Scoring, statistics: Floats, group: NDArray[Any] | None, seed: int, draws: int = DRAWS) -> Interval:
    """The metric of rows with these statistics and its two-sided 95% interval."""
    plain = _wilson(statistics) if scoring.plain else None
    if plain is not None and group is None:
        return plain
    value = scoring.metric_of(statistics)
    (drawn,) = metric_draws(scoring, [statistics], group, seed, draws)
    interval = percentile_interval(value, drawn, independent(len(statistics), group))
    return interval if plain is None else _wider(interval, plain)


def compare(
    scoring: Scoring,
    statistics: Floats,
    source: Floats,
    group: NDArray[Any] | None,
    seed: int,
    draws: int = DRAWS,
) -> Paired:
    """Compares two models by their statistics on the same rows; `group` [rows] says which rows belong together."""
    if statistics.shape != source.shape:
        raise ValueError(f"statistics {statistics.shape} against the source's {source.shape}")
    counts = pair(statistics[:, 0], source[:, 0]) if scoring.plain else None
    mine, theirs = scoring.metric_of(statistics), scoring.metric_of(source)
    if counts is not None and group is None:
        difference, bounds = paired_difference(counts), paired_difference(counts, confidence=0.90)
    else:
        drawn, drawn_source = metric_draws(scoring, [statistics, source], group, seed, draws)
        units = independent(len(statistics), group)
        difference = percentile_interval(mine - theirs, drawn - drawn_source, units)
        better = _better(scoring, drawn, drawn_source)
        value = float(_better(scoring, np.array([mine]), np.array([theirs]))[0])
        bounds = percentile_interval(value, better, units, confidence=0.90)
        if counts is not None:
            # Rows of one group never tell more than as many independent ones; few groups may agree by chance.
            difference = _wider(difference, paired_difference(counts))
            bounds = _wider(bounds, paired_difference(counts, confidence=0.90))
    return Paired(
        metric=scoring.metric,
        n=len(statistics),
        value=mine,
        source_value=theirs,
        difference=difference,
        loss_bounds=bounds,
        relative=scoring.relative,
        counts=counts,
        grouped=group is not None,
    )


def pair(score: Floats, source_score: Floats) -> PairedCounts:
    """Counts the rows of two 0/1 scores on the same rows."""
    if score.shape != source_score.shape:
        raise ValueError(f"{score.shape} rows against the source's {source_score.shape}")
    mine, theirs = score > 0.5, source_score > 0.5
    return PairedCounts(
        n=len(score),
        both=int(np.count_nonzero(mine & theirs)),
        gained=int(np.count_nonzero(mine & ~theirs)),
        lost=int(np.count_nonzero(~mine & theirs)),
    )


def mcnemar(counts: PairedCounts) -> float:
    """Chance of a split of the discordant rows at least this uneven if the two were equally good (McNemar, 1947).

    The exact, two-sided binomial form; 1 when no row is discordant.
    """
    discordant = counts.gained + counts.lost
    return float(binomtest(counts.gained, discordant).pvalue) if discordant else 1.0


def _better(scoring: Scoring, mine: Floats, theirs: Floats) -> Floats:
    if scoring.relative:
        # A source without any error leaves no share to speak of: the smallest number makes any error a loss.
        return (theirs - mine) / np.maximum(theirs, np.finfo(np.float64).tiny)
    return mine - theirs


def _wilson(statistics: Floats) -> Interval:
    return wilson(int(np.count_nonzero(statistics[:, 0] > 0.5)), len(statistics))


def _wider(one: Interval, other: Interval) -> Interval:
    return Interval(one.value, min(one.low, other.low), max(one.high, other.high))
