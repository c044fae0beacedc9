"""Which part of the axes a plot shows. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

# A value further below the ones that matter than so many times their spread would squeeze them into a line.
_FAR = 3.0
_LOG_FROM_RATIO = 6.0


@dataclass(frozen=True)
class Range:
    """Ends of an axis."""

    low: float
    high: float


def logarithmic(values: Sequence[float]) -> bool:
    """Whether positive values span so much that a logarithmic axis reads better."""
    return min(values) > 0 and max(values) / min(values) >= _LOG_FROM_RATIO


def padded(low: float, high: float, log: bool = False) -> Range:
    """The range with room at both ends; never empty."""
    if log:
        ratio = max((high / low) ** 0.15, 1.15)
        return Range(low / ratio, high * ratio)
    room = max(0.12 * (high - low), 0.002 * abs(high)) or 1.0
    return Range(low - room, high + room)


def in_view(must_show: Sequence[tuple[float, float]], may_show: Sequence[tuple[float, float]]) -> Range:
    """Range for intervals (low, high): all of `must_show`, and those of `may_show` that are not far below."""
    base = must_show or may_show
    low, high = min(item[0] for item in base), max(item[1] for item in base)
    reach = low - _FAR * (high - low)
    near = [item for item in may_show if item[0] >= reach]
    return padded(min([low, *(item[0] for item in near)]), max([high, *(item[1] for item in near)]))
