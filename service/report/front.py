"""The Pareto front: what nothing else beats in both quality and time. Pure."""

from collections.abc import Iterable, Mapping

from service.client.resources import Variant


def front(points: Mapping[str, tuple[float, float]]) -> set[str]:
    """Names of the points (cost, quality) that no other one beats: as cheap and better, or cheaper and as good.

    Equal points stand or fall together. O(n log n).
    """
    found: set[str] = set()
    best = float("-inf")
    by_cost: dict[float, list[str]] = {}
    for name, (cost, _) in points.items():
        by_cost.setdefault(cost, []).append(name)
    for cost in sorted(by_cost):
        quality = max(points[name][1] for name in by_cost[cost])
        if quality > best:
            best = quality
            found.update(name for name in by_cost[cost] if points[name][1] == quality)
    return found


def on_front(variants: Iterable[Variant]) -> set[str]:
    """Names of the accepted variants (the source is one) on the front of quality against median latency at batch 1."""
    points = {}
    for variant in variants:
        one = variant.latency(1)
        if variant.accepted and variant.metric is not None and one is not None:
            points[variant.name] = (one.p50_ms, variant.metric.value)
    return front(points)
