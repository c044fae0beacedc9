"""Places the names of points in a plot so that they cover neither each other nor a point. Pure geometry, in pixels."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Box:
    """A rectangle; y grows upwards."""

    left: float
    bottom: float
    right: float
    top: float

    def overlap(self, other: "Box") -> float:
        """Area that both cover."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.top, other.top) - max(self.bottom, other.bottom)
        return max(width, 0.0) * max(height, 0.0)

    @property
    def area(self) -> float:
        """Width times height."""
        return (self.right - self.left) * (self.top - self.bottom)


# Where a label may stand, as (horizontal, vertical) shares of its size from the anchor; the best places first.
_PLACES = (
    (0.0, -0.5), (-1.0, -0.5), (0.0, 0.1), (0.0, -1.1), (-1.0, 0.1), (-1.0, -1.1), (-0.5, 0.4), (-0.5, -1.4),
    (0.0, 1.2), (0.0, -2.2), (-1.0, 1.2), (-1.0, -2.2),
)  # fmt: skip
# Leaving the frame is as bad as covering so many times the label's own area.
_OUTSIDE_COST = 20.0


def place(
    anchors: Sequence[tuple[float, float]],
    sizes: Sequence[tuple[float, float]],
    obstacles: Sequence[Box],
    frame: Box,
    gap: float = 9.0,
) -> list[Box]:
    """A box of the given size (width, height) beside each anchor, `gap` away, one after the other.

    Each takes the place that covers least of the obstacles and of the labels before it and stays inside the frame.
    """
    placed: list[Box] = []
    for (x, y), (width, height) in zip(anchors, sizes, strict=True):
        candidates = []
        for horizontal, vertical in _PLACES:
            aside = gap if horizontal == 0 else -gap if horizontal == -1 else 0.0
            left, bottom = x + aside + horizontal * width, y + vertical * height
            candidates.append(Box(left, bottom, left + width, bottom + height))

        def cost(box: Box) -> float:
            covered = sum(box.overlap(other) for other in (*obstacles, *placed))
            return covered + _OUTSIDE_COST * (box.area - box.overlap(frame))

        # min keeps the first of equals: the order above is the order of preference.
        placed.append(min(candidates, key=cost))
    return placed
