"""What a search knows of one point, and which point is better: pure functions of values."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from optimizer.artifact.task import LOWER_IS_BETTER, METRIC, Task
from optimizer.recipe.study import Goal, Range, Space, Value

# A value by itself is left out only when it is worse than another by more than this on every goal: one measurement of a
# latency, or of a few hundred rows, is not exact.
_NOISE: dict[Goal, float] = {"accuracy": 0.0, "latency": 0.05, "size": 0.0}


@dataclass(frozen=True)
class Figures:
    """A point's figures on the selection rows and against the source."""

    # More is better, whatever the metric (`optimizer.metrics.scoring`).
    accuracy: float
    # Median time of a call at batch 1, and size of the file, as shares of the source's.
    latency: float
    size: float

    def of(self, goal: Goal) -> float:
        """The figure that a goal is about."""
        return {"accuracy": self.accuracy, "latency": self.latency, "size": self.size}[goal]

    def cost(self, goal: Goal) -> float:
        """The same, so that less is better."""
        return -self.accuracy if goal == "accuracy" else self.of(goal)


def allowed_loss(task: Task, source: float, max_accuracy_drop: float) -> float:
    """How far the accuracy may lie below the source's: points, or a share where the metric has no upper end."""
    return abs(source) * max_accuracy_drop if METRIC[task] in LOWER_IS_BETTER else max_accuracy_drop


def dominates(one: Figures, other: Figures, goals: Sequence[Goal], noise: Mapping[Goal, float]) -> bool:
    """Whether `one` is better than `other` on every goal by more than the noise."""
    return all(one.cost(goal) + noise.get(goal, 0.0) < other.cost(goal) for goal in goals)


def front(points: Mapping[int, Figures], goals: Sequence[Goal]) -> list[int]:
    """The points that no other is at least as good as on every goal and better on one, best of the first goal first."""
    kept = [
        number
        for number, mine in points.items()
        if not any(_beats(theirs, mine, goals) for other, theirs in points.items() if other != number)
    ]
    return sorted(kept, key=lambda number: ([points[number].cost(goal) for goal in goals], number))


def _beats(theirs: Figures, mine: Figures, goals: Sequence[Goal]) -> bool:
    costs = [(theirs.cost(goal), mine.cost(goal)) for goal in goals]
    return all(a <= b for a, b in costs) and any(a < b for a, b in costs)


def spread(ordered: Sequence[int], count: int) -> list[int]:
    """`count` of the points in order, both ends among them and the rest evenly between."""
    if len(ordered) <= count:
        return list(ordered)
    if count == 1:
        return [ordered[0]]
    return [ordered[round(index * (len(ordered) - 1) / (count - 1))] for index in range(count)]


def probes(space: Space, template: Mapping[str, Value]) -> list[dict[str, Value]]:
    """The points that differ from the template in one value: each listed value by itself, the template first."""
    found = [dict(template)]
    for name, domain in space.items():
        if not isinstance(domain, Range):
            found += [dict(template) | {name: value} for value in domain if value != template[name]]
    return found


def narrowed(
    space: Space,
    template: Mapping[str, Value],
    figures: Iterable[tuple[Mapping[str, Value], Figures | None]],
    goals: Sequence[Goal],
) -> Space:
    """The space without the values that, by themselves, failed or lost to another value on every goal.

    `figures` are those of the probes; None is a point that failed. Every name keeps at least one value; ranges stay.
    """
    known = [(dict(point), found) for point, found in figures]
    kept: Space = {}
    for name, domain in space.items():
        if isinstance(domain, Range):
            kept[name] = domain
            continue
        alone = {
            point[name]: found
            for point, found in known
            if all(point[other] == template[other] for other in space if other != name)
        }
        good = {value: found for value, found in alone.items() if found is not None}
        values = tuple(
            value
            for value in domain
            if value not in alone
            or (value in good and not any(dominates(found, good[value], goals, _NOISE) for found in good.values()))
        )
        kept[name] = values or domain
    return kept
