"""Weights as people write them become hundredths of a percent that sum exactly: a pure function."""

import math
from collections.abc import Mapping

from service.errors import InvalidArgument

WHOLE = 10_000
_TOLERANCE = 0.01


def basis_points(weights: Mapping[str, float]) -> dict[str, int]:
    """Each variant's weight (0 to 100) in hundredths of a percent; what rounding leaves goes to the largest remainders.

    Raises InvalidArgument for weights that are negative, not finite, or do not sum to 100 within a hundredth.
    """
    if not weights:
        raise InvalidArgument("a split needs at least one variant")
    for variant, weight in weights.items():
        if not 0 <= weight <= 100 + _TOLERANCE:  # Not true of NaN either.
            raise InvalidArgument(f"the weight of {variant} is {weight:g}; weights are numbers from 0 to 100")
    total = math.fsum(weights.values())
    # The last term: 99.99 and 100.01 are not exact in binary.
    if abs(total - 100) > _TOLERANCE + 1e-9:
        raise InvalidArgument(f"the weights sum to {total:.6g}; they must sum to 100")
    exact = {variant: weight / total * WHOLE for variant, weight in weights.items()}
    points = {variant: math.floor(share) for variant, share in exact.items()}
    by_remainder = sorted(exact, key=lambda variant: points[variant] - exact[variant])
    for variant in by_remainder[: WHOLE - sum(points.values())]:
        points[variant] += 1
    return points
