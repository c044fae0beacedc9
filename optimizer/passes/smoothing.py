"""How much of the range of a product's channels to move into its weights, so that 8 bits hold both (Xiao et al., 2023).

Pure arithmetic: what 8 bits do to a product is computed in floats.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

ALPHAS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
_LEVELS, _LARGEST = 255, 127
# Factors beyond this would only move trouble into the last bits of floats.
_MOST = 1e4


def factors(channels: Floats, matrix: Floats, alpha: float) -> Floats:
    """What to divide each channel by: largest value ** alpha / largest weight ** (1 - alpha), 1 for a dead channel.

    `channels` [inputs] are the largest magnitudes seen, `matrix` [inputs, outputs] all weights behind them.
    """
    weights = np.abs(matrix).max(axis=1)
    alive = (channels > 0) & (weights > 0)
    values = np.where(alive, channels, 1).astype(np.float64)
    sizes = np.where(alive, weights, 1).astype(np.float64)
    found = values**alpha / sizes ** (1 - alpha)
    return np.where(alive, found.clip(1 / _MOST, _MOST), 1).astype(np.float32)


def error(values: Floats, matrix: Floats, by: Floats | None, extremes: tuple[Floats, Floats]) -> float:
    """Relative error of values [rows, inputs] x matrix [inputs, outputs] in 8 bits, divided and multiplied `by`.

    Values have one range, from the least to the largest of `extremes` (a channel each); a column of weights has its
    own scale.
    """
    scale = np.ones(len(matrix), np.float32) if by is None else by
    low = min(float((extremes[0] / scale).min()), 0.0)
    high = max(float((extremes[1] / scale).max()), 0.0)
    unit = max((high - low) / _LEVELS, 1e-12)
    rounded = (np.rint(values / scale / unit).clip(np.rint(low / unit), np.rint(high / unit)) * unit).astype(np.float32)
    weights = matrix * scale[:, None]
    units = np.maximum(np.abs(weights).max(axis=0) / _LARGEST, 1e-12)
    exact = values @ matrix
    distance = np.linalg.norm(rounded @ (np.rint(weights / units) * units).astype(np.float32) - exact)
    return float(distance / max(float(np.linalg.norm(exact)), 1e-12))


def best(
    values: Floats, matrix: Floats, extremes: tuple[Floats, Floats], alphas: Sequence[float] = ALPHAS
) -> tuple[float, float, float]:
    """The alpha of the least error, that error, and the error without smoothing."""
    channels = np.maximum(np.abs(extremes[0]), np.abs(extremes[1]))
    errors = {alpha: error(values, matrix, factors(channels, matrix, alpha), extremes) for alpha in alphas}
    alpha = min(errors, key=lambda one: (errors[one], one))
    return alpha, errors[alpha], error(values, matrix, None, extremes)
