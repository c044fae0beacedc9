"""The Pareto front: what is worth showing when cost should be low and quality high."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Point:
    """One candidate; `cost` in any unit (milliseconds, bytes), lower is better; of `quality` more is better."""

    name: str
    cost: float
    quality: float


def dominates(one: Point, other: Point) -> bool:
    """Whether `one` is nowhere worse than `other` and somewhere better."""
    return (
        one.cost <= other.cost
        and one.quality >= other.quality
        and (one.cost < other.cost or one.quality > other.quality)
    )


def front(points: Sequence[Point]) -> list[Point]:
    """The points that no other dominates, cheapest first; equal points stay together, in the given order."""
    kept: list[Point] = []
    # Cheapest first, and of equal cost the best first: a point is dominated only by what comes before it.
    for point in sorted(points, key=lambda point: (point.cost, -point.quality)):
        if (
            not kept
            or point.quality > kept[-1].quality
            or (point.cost, point.quality) == (kept[-1].cost, kept[-1].quality)
        ):
            kept.append(point)
    return kept
