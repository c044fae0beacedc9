"""Whether a variant answers on this host as it did where it was published: a pure comparison.

A CPU with other integer instructions, or a GPU, rounds differently: an int8 variant's figures may move in the first
digits between hosts while its decisions stay. So an output passes if it is close as a whole (relative Euclidean
distance up to a tenth), or if its greatest element along the last axis is where it was in nine rows of ten. That
catches a wrong file, a broken kernel and a provider that computes nonsense; fine numerics were proved at publication.
"""

from collections.abc import Sequence

import numpy as np

from service.types import Array

LARGEST_RELATIVE_DISTANCE = 0.1
LEAST_AGREEMENT = 0.9


def difference(name: str, expected: Array, got: Array) -> str | None:
    """What is wrong with an output, in a sentence; None when it agrees."""
    if got.shape != expected.shape:
        return f"output '{name}' has shape {list(got.shape)} here and {list(expected.shape)} where it was made"
    if not expected.size or (expected == got).all():
        return None
    if not _numeric(expected) or not _numeric(got):
        agreement = float(np.mean(expected == got))
        return None if agreement >= LEAST_AGREEMENT else f"output '{name}' equals the golden one in {agreement:.0%}"
    want, have = expected.astype(np.float64), got.astype(np.float64)
    if not np.array_equal(np.isfinite(want), np.isfinite(have)):
        return f"output '{name}' is not finite where it was made"
    finite = np.isfinite(want)
    distance = float(np.linalg.norm((have - want)[finite]) / max(float(np.linalg.norm(want[finite])), 1e-12))
    if distance <= LARGEST_RELATIVE_DISTANCE:
        return None
    if want.ndim >= 2 and want.shape[-1] >= 2:
        agreement = float(np.mean(want.argmax(-1) == have.argmax(-1)))
        if agreement >= LEAST_AGREEMENT:
            return None
        return f"output '{name}' is {distance:.3g} away, relatively, and agrees in {agreement:.0%} of the rows"
    return f"output '{name}' is {distance:.3g} away, relatively"


def first_difference(names: Sequence[str], expected: Sequence[Array], got: Sequence[Array]) -> str | None:
    """The first output that does not agree, in a sentence."""
    for name, want, have in zip(names, expected, got, strict=True):
        sentence = difference(name, want, have)
        if sentence is not None:
            return sentence
    return None


def _numeric(array: Array) -> bool:
    return array.dtype.kind in "biuf" or array.dtype.name == "bfloat16"
