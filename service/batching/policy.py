"""Which waiting requests run together: a pure rule.

The oldest request always goes. With it go, in order of arrival, the requests of the same shapes, until the next one of
them would exceed the row limit: a request is never overtaken by a later one of its own shapes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


class Stackable(Protocol):
    """What the rule sees of a request; see InferRequest."""

    @property
    def rows(self) -> int:
        """Rows along the batch axis, at least one."""

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Requests of equal shapes may be stacked."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What bounds a batch."""

    # Rows beyond which stacking stops; a single request may have more. 0: nothing is ever stacked.
    max_rows: int
    # How long the oldest request may wait for company. Under load no wait is needed: requests gather during a run.
    delay_ns: int = 0


@dataclass(frozen=True, slots=True)
class Choice:
    """Either positions to take now, ascending, or how long to wait before choosing again."""

    take: tuple[int, ...]
    wait_ns: int = 0


def choose(waiting: Sequence[Stackable], oldest_age_ns: int, limits: Limits) -> Choice:
    """Chooses among the waiting requests, oldest first; there is at least one."""
    first = waiting[0]
    if limits.max_rows == 0:
        return Choice((0,))
    take = [0]
    rows = first.rows
    full = rows >= limits.max_rows
    if not full:
        for position in range(1, len(waiting)):
            candidate = waiting[position]
            if candidate.shapes != first.shapes:
                continue
            if rows + candidate.rows > limits.max_rows:
                full = True
                break
            take.append(position)
            rows += candidate.rows
            if rows == limits.max_rows:
                full = True
                break
    if not full and oldest_age_ns < limits.delay_ns:
        return Choice((), limits.delay_ns - oldest_age_ns)
    return Choice(tuple(take))
