"""The gate: whether a variant may be served in the source's place, as a pure function of what was measured.

Accepted is what is both
  - not inferior: the one-sided 95% bound of the paired difference of quality lies above -margin, and
  - faster: at batch 1 the 95% interval of the paired speed ratio lies above 1, and at no other measured batch size does
    it lie below 1. Batch 1 leads because every model has it and because it is what a lone caller waits for.
Slower (or not measurably faster) is rejected whatever the quality; so is what is shown to be inferior. What the
evaluation rows cannot decide is inconclusive and says how many rows would.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from optimizer.artifact.manifest import Estimate, Measurement, Verdict
from optimizer.artifact.session import Target
from optimizer.metrics.intervals import PairedCounts, paired_difference, resolvable_difference, rows_needed


@dataclass(frozen=True)
class Accept:
    """Not inferior at the margin, and faster here."""

    reason: str
    verdict: ClassVar = Verdict.ACCEPT
    rows_needed: ClassVar[int | None] = None


@dataclass(frozen=True)
class Reject:
    """Inferior, or not faster."""

    reason: str
    verdict: ClassVar = Verdict.REJECT
    rows_needed: ClassVar[int | None] = None


@dataclass(frozen=True)
class Inconclusive:
    """Faster, but the rows at hand cannot tell whether it is good enough; None: no number of rows would."""

    reason: str
    rows_needed: int | None
    verdict: ClassVar = Verdict.INCONCLUSIVE


@dataclass(frozen=True)
class NotMeasured:
    """Made for another target than this host."""

    reason: str
    verdict: ClassVar = Verdict.NOT_MEASURED
    rows_needed: ClassVar[int | None] = None


Decision = Accept | Reject | Inconclusive | NotMeasured

_DEVICE: dict[Target, str] = {"cpu": "the CPU", "cuda": "a CUDA device"}


def decide(paired: PairedCounts, speedups: Mapping[int, Estimate], margin: float, metric: str) -> Decision:
    """Judges a variant against its source.

    `speedups` holds the speed ratio (source's time / variant's) by batch size and must have batch 1; `margin` is the
    largest accepted loss as a fraction (0.01 = one point); `metric` is the name of what `paired` counts.
    """
    if 1 not in speedups:
        raise ValueError("the gate needs the speed ratio at batch 1")
    if not 0 <= margin < 1:
        raise ValueError(f"margin {margin} is not in [0, 1)")
    slow = _not_faster(speedups)
    if slow is not None:
        return Reject(slow)
    # The limits of the two-sided 90% interval are the one-sided 95% bounds.
    bounds = paired_difference(paired, confidence=0.90)
    quality = f"{metric} {paired.value:.4f} against the source's {paired.source_value:.4f} on the same {paired.n} rows"
    if bounds.low > -margin:
        return Accept(
            f"{quality}: the difference of {_points(bounds.value, sign=True)} is above "
            f"{_points(bounds.low, sign=True)} with 95% confidence, within the margin of {_points(margin)}; "
            f"{_speed(1, speedups[1])}."
        )
    if bounds.high < -margin:
        return Reject(
            f"{quality}: the difference of {_points(bounds.value, sign=True)} is below "
            f"{_points(bounds.high, sign=True)} with 95% confidence, worse than the margin of {_points(margin)} allows."
        )
    needed = rows_needed(paired, margin)
    # More rows than these are needed by definition; the estimate may say fewer when this sample was unlucky.
    needed = None if needed is None else max(needed, paired.n + 1)
    resolved = resolvable_difference(paired.n, paired.discordance)
    advice = (
        f"{paired.n} rows resolve about {_points(resolved)}, about {needed} evaluation rows would decide"
        if needed is not None
        else "no number of rows would decide, since the difference lies on the margin itself"
    )
    return Inconclusive(
        f"{quality}: the difference of {_points(bounds.value, sign=True)} lies between "
        f"{_points(bounds.low, sign=True)} and {_points(bounds.high, sign=True)} with 90% confidence, so the margin of "
        f"{_points(margin)} cannot be decided; {advice}.",
        rows_needed=needed,
    )


def not_measured(made_for: Target, present: Target) -> NotMeasured:
    """The verdict on a variant whose target this host does not have."""
    return NotMeasured(
        f"made for {_DEVICE[made_for]}, and this host runs models on {_DEVICE[present]}: kept, but not measured here."
    )


def speedups_of(measurement: Measurement) -> dict[int, Estimate]:
    """Speed ratios by batch size, of a measurement taken against a source."""
    return {entry.batch: entry.speedup for entry in measurement.latencies if entry.speedup is not None}


def _not_faster(speedups: Mapping[int, Estimate]) -> str | None:
    for batch in sorted(speedups):
        ratio = speedups[batch]
        if ratio.high < 1:
            return f"slower than the source on this host: {_speed(batch, ratio)}."
        if batch == 1 and ratio.low <= 1:
            return f"not measurably faster than the source on this host: {_speed(batch, ratio)}."
    return None


def _speed(batch: int, ratio: Estimate) -> str:
    return (
        f"{ratio.value:.2f} times as fast as the source at batch {batch} "
        f"(95% interval {ratio.low:.2f} to {ratio.high:.2f}, {ratio.n} alternating pairs)"
    )


def _points(share: float, *, sign: bool = False) -> str:
    """A share in points of a hundred, "-0.25 points"."""
    return f"{100 * share:{'+' if sign else ''}.2f} points"
