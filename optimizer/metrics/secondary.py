"""Figures beside a task's metric: each a function of sums over rows, so that one set of draws bounds them all.

The values are scikit-learn's where it has them; the sums give the same values on rows that were drawn again, many draws
at once.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, hstack
from sklearn.metrics import f1_score, mean_absolute_error, r2_score

from optimizer.metrics.answers import Floats
from optimizer.metrics.bootstrap import independent, percentile_interval, weights_of
from optimizer.metrics.comparison import stated
from optimizer.metrics.intervals import Interval
from optimizer.metrics.scoring import scoring

# Fewer than of the metric that decides: nothing hangs on the last digit of these intervals.
DRAWS = 1000
BINS = 15


@dataclass(frozen=True)
class Figure:
    """A named value; `values` makes it of weighted sums [draws, k] of `parts` [rows, k], for many draws at once."""

    name: str
    value: float
    parts: Any
    values: Callable[[Floats], Floats]


def intervals(figures: list[Figure], group: NDArray[Any] | None, seed: int, draws: int = DRAWS) -> list[Interval]:
    """Two-sided 95% bootstrap intervals of figures of the same rows; rows of one `group` are drawn together."""
    if not figures:
        return []
    rows = figures[0].parts.shape[0]
    drawn: list[list[Floats]] = [[] for _ in figures]
    for weights in weights_of(rows, group, seed, draws):
        for figure, values in zip(figures, drawn, strict=True):
            values.append(figure.values(weights @ figure.parts))
    units = independent(rows, group)
    return [
        percentile_interval(figure.value, np.concatenate(values), units)
        for figure, values in zip(figures, drawn, strict=True)
    ]


def share(right: NDArray[Any], group: NDArray[Any] | None, seed: int) -> Interval:
    """The share of rows [rows] that are true: Wilson's interval, or the wider bootstrap's of rows in groups."""
    return stated(scoring("classification"), right.astype(np.float64)[:, None], group, seed, DRAWS)


def macro_f1(said: NDArray[Any], truth: NDArray[Any]) -> Figure:
    """The mean over classes of F1, of classes [rows]. A class that is neither said nor true does not count."""
    return _macro_f1(np.arange(len(truth)), said, truth, len(truth))


def token_macro_f1(said: NDArray[Any], truth: NDArray[Any], counted: NDArray[np.bool_]) -> Figure:
    """`macro_f1` of the `counted` tokens, all [rows, sequence]."""
    row = np.nonzero(counted)[0]
    return _macro_f1(row, said[counted], truth[counted], len(truth))


def label_macro_f1(said: NDArray[Any], truth: NDArray[Any]) -> Figure:
    """`macro_f1` over labels, each said or not, [rows, labels]."""
    mine, wanted = said.reshape(len(said), -1) > 0, truth.reshape(len(truth), -1) > 0
    parts = np.concatenate([mine & wanted, mine.astype(np.int64) + wanted], axis=1).astype(np.float64)
    present = (mine | wanted).any(axis=0)
    value = f1_score(wanted[:, present], mine[:, present], average="macro", zero_division=0) if present.any() else 1.0
    return Figure("macro_f1", float(value), parts, _mean_f1)


def binary_f1(said: NDArray[Any], truth: NDArray[Any]) -> Figure:
    """F1 of the positive class, of 0 and 1 [rows]; 0 where nothing is positive."""
    mine, wanted = said > 0, truth.reshape(-1) > 0
    parts = np.stack([mine & wanted, mine.astype(np.int64) + wanted], axis=1).astype(np.float64)
    return Figure("f1", float(f1_score(wanted, mine, zero_division=0)), parts, _mean_f1)


def absolute_error(said: NDArray[Any], truth: NDArray[Any]) -> Figure:
    """Mean absolute error of numbers [rows] or [rows, targets]."""
    mine, wanted = _numbers(said), _numbers(truth)
    error = np.abs(mine - wanted).mean(axis=1)
    parts = np.stack([error, np.ones(len(error))], axis=1)
    return Figure("mae", float(mean_absolute_error(wanted, mine)), parts, lambda sums: sums[:, 0] / sums[:, 1])


def explained(said: NDArray[Any], truth: NDArray[Any]) -> Figure | None:
    """The coefficient of determination, the mean of the targets'. None where a target never varies."""
    mine, wanted = _numbers(said), _numbers(truth)
    centred = wanted - wanted.mean(axis=0)
    if len(wanted) < 2 or not (centred**2).sum(axis=0).all():
        return None
    targets = wanted.shape[1]
    parts = np.concatenate([(mine - wanted) ** 2, centred**2, centred, np.ones((len(wanted), 1))], axis=1)

    def values(sums: Floats) -> Floats:
        errors, squares, shift = (sums[:, start : start + targets] for start in (0, targets, 2 * targets))
        spread = squares - shift**2 / sums[:, -1:]
        # A draw in which nothing varies has nothing to explain: scikit-learn's 0 for it.
        some = spread > 1e-12 * squares
        result: Floats = np.where(some, 1 - errors / np.where(some, spread, 1.0), 0.0).mean(axis=1)
        return result

    return Figure("r2", float(r2_score(wanted, mine)), parts, values)


def token_share(name: str, right: NDArray[Any], counts: NDArray[Any]) -> Figure | None:
    """The share of right tokens; `right` and `counts` [rows] are tokens a row. None where no token counts."""
    parts = np.stack([right, counts], axis=1).astype(np.float64)
    whole = parts[:, 1].sum()
    if not whole:
        return None
    return Figure(name, float(parts[:, 0].sum() / whole), parts, lambda sums: sums[:, 0] / np.maximum(sums[:, 1], 1.0))


def calibration_error(confidence: NDArray[Any], right: NDArray[Any]) -> Figure:
    """Expected calibration error (Guo et al., ICML 2017) over 15 bins of equally many rows, by confidence.

    The bins are those of all rows, whatever is drawn. A perfectly calibrated model shows about as much error as its
    bins' shares vary by chance.
    """
    rows = len(confidence)
    bins = np.empty(rows, np.int64)
    for number, members in enumerate(np.array_split(np.argsort(confidence, kind="stable"), BINS)):
        bins[members] = number
    parts = np.zeros((rows, BINS + 1))
    parts[np.arange(rows), bins] = right.astype(np.float64) - confidence
    parts[:, -1] = 1.0
    return Figure("calibration_error", float(_gaps(parts.sum(axis=0)[None])[0]), parts, _gaps)


def _macro_f1(row: NDArray[Any], said: NDArray[Any], truth: NDArray[Any], rows: int) -> Figure:
    classes, places = np.unique(np.concatenate([said, truth]), return_inverse=True)
    mine, wanted = places[: len(said)], places[len(said) :]
    shape = (rows, len(classes))
    hit = mine == wanted
    hits = csr_array((np.ones(int(hit.sum())), (row[hit], wanted[hit])), shape=shape)
    both = csr_array((np.ones(2 * len(row)), (np.tile(row, 2), np.concatenate([mine, wanted]))), shape=shape)
    value = f1_score(wanted, mine, average="macro", zero_division=0)
    return Figure("macro_f1", float(value), hstack([hits, both], format="csr"), _mean_f1)


def _mean_f1(sums: Floats) -> Floats:
    """The mean F1 of the classes that a draw holds; `sums` are hits, then said and true together, a class each."""
    hits, both = np.split(sums, 2, axis=1)
    present = both > 0
    scores = np.where(present, 2 * hits / np.where(present, both, 1.0), 0.0)
    values: Floats = scores.sum(axis=1) / np.maximum(present.sum(axis=1), 1)
    return values


def _gaps(sums: Floats) -> Floats:
    values: Floats = np.abs(sums[:, :-1]).sum(axis=1) / sums[:, -1]
    return values


def _numbers(values: NDArray[Any]) -> Floats:
    return values.reshape(len(values), -1).astype(np.float64)
