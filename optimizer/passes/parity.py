"""How far two models' answers lie apart."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optimizer.errors import PassFailed

# Rounding in another order moves 32-bit answers by about a millionth; a wrong graph moves them by their own size.
TOLERANCE = 1e-3


def relative_error(expected: Sequence[NDArray[Any]], actual: Sequence[NDArray[Any]]) -> float:
    """Largest |actual - expected| / |expected| over the outputs (Euclidean norms); infinite where shapes differ."""
    worst = 0.0
    for wanted, got in zip(expected, actual, strict=True):
        if wanted.shape != got.shape or not np.isfinite(got.astype(np.float64)).all():
            return float("inf")
        distance = float(np.linalg.norm(got.astype(np.float64) - wanted.astype(np.float64)))
        worst = max(worst, distance / max(float(np.linalg.norm(wanted.astype(np.float64))), 1e-6))
    return worst


def require(expected: Sequence[NDArray[Any]], actual: Sequence[NDArray[Any]], where: str) -> float:
    """The relative error. Raises PassFailed when rounding cannot explain it; `where` says what was compared."""
    error = relative_error(expected, actual)
    if error > TOLERANCE:
        raise PassFailed(f"{where} answers differently: relative error {error:.2g}, allowed is {TOLERANCE:g}")
    return error
