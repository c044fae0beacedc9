"""Ranges that a tensor's histogram recommends: by percentile, or by the least loss of information."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from onnxruntime.quantization.quant_utils import smooth_distribution
from scipy.stats import entropy

BINS = 2048
# What onnxruntime cuts off on both sides together: one value in a hundred thousand.
_PERCENTILE = 99.999
# Integers of one sign.
_LEVELS = 128
# Candidates lie this many bins apart, which is 0.8% of the range.
_STEP = 8


@dataclass(eq=False)
class Histogram:
    """Counts of values in equal bins from -bound to bound, which the values must not exceed; filled chunk by chunk."""

    lowest: float
    highest: float
    counts: NDArray[np.int64]

    @classmethod
    def empty(cls, lowest: float, highest: float, bins: int = BINS) -> "Histogram":
        """For a tensor whose values were found to lie between `lowest` and `highest`."""
        return cls(lowest, highest, np.zeros(bins, np.int64))

    @property
    def bound(self) -> float:
        """Largest magnitude."""
        return max(abs(self.lowest), abs(self.highest))

    @property
    def edges(self) -> NDArray[np.float64]:
        """Borders of the bins, one more than there are bins."""
        return np.linspace(-self.bound, self.bound, len(self.counts) + 1)

    def add(self, values: NDArray[np.float32]) -> None:
        """Counts these values."""
        if self.bound == 0 or values.size == 0:
            return
        bins = len(self.counts)
        # In 64 bits: of the smallest numbers the bins are too narrow for 32.
        shares = (values.reshape(-1).astype(np.float64) + self.bound) / (2 * self.bound)
        places = (shares * bins).astype(np.int64)
        self.counts += np.bincount(np.clip(places, 0, bins - 1), minlength=bins)

    def _within(self, low: float, high: float) -> tuple[float, float]:
        return max(low, self.lowest), min(high, self.highest)

    def by_percentile(self, percentile: float = _PERCENTILE) -> tuple[float, float]:
        """The range that holds `percentile` of the values, with as many beyond it on either side."""
        if self.counts.sum() == 0:
            return self.lowest, self.highest
        cumulated = np.cumsum(self.counts / self.counts.sum())
        cut = (100 - percentile) / 200
        left, right = np.searchsorted(cumulated, [cut, 1 - cut])
        # A value at either end lies inside its bin.
        return self._within(float(self.edges[left]), float(self.edges[min(right + 1, len(self.counts))]))

    def by_entropy(self, levels: int = _LEVELS, step: int = _STEP) -> tuple[float, float]:
        """The symmetric range whose values in `levels` integers are least different from those in bins.

        Difference is the Kullback-Leibler divergence (Migacz, "8-bit inference with TensorRT", 2017); values beyond
        the range count to its ends. The last candidate is the whole range.
        """
        middle = len(self.counts) // 2
        if self.counts.sum() == 0 or middle < levels // 2:
            return self.lowest, self.highest
        halves = sorted({*range(levels // 2, middle + 1, step), middle})
        losses = [self._loss(half, levels) for half in halves]
        best = halves[int(np.argmin(losses))]
        edges = self.edges
        return self._within(float(edges[middle - best]), float(edges[min(middle + best + 1, len(self.counts))]))

    def _loss(self, half: int, levels: int) -> float:
        middle = len(self.counts) // 2
        start, end = middle - half, min(middle + half + 1, len(self.counts))
        inside = self.counts[start:end]
        clipped = inside.copy()
        clipped[0] += self.counts[:start].sum()
        clipped[-1] += self.counts[end:].sum()
        # As many bins go into each integer; the last takes what is left over.
        width = inside.size // levels
        whole = width * levels
        sums = inside[:whole].reshape(levels, width).sum(axis=1)
        sums[-1] += inside[whole:].sum()
        filled = (clipped[:whole].reshape(levels, width) != 0).sum(axis=1)
        spread = np.zeros_like(clipped)
        spread[:whole] = np.repeat(np.where(filled > 0, sums // np.maximum(filled, 1), 0), width)
        wanted, got = smooth_distribution(clipped), smooth_distribution(spread)
        return float("inf") if wanted is None or got is None else float(entropy(wanted, got))
