"""The gate: whether a variant may be served in the source's place, as a pure function of what was measured.

Accepted is what is all of
  - within the objective's hard limits on latency and size,
  - not inferior: the one-sided 95% bound of the paired change of quality lies above -margin. The margin is in absolute
    points for metrics between 0 and 1, and a share of the source's value for RMSE and perplexity, which have no upper
    end ("not more than one hundredth worse"), and
  - better in what the objective prefers. Latency: at batch 1 the 95% interval of the paired speed ratio lies above 1,
    and at no other measured batch size does it lie below 1; batch 1 leads because every model has it and because it is
    what a lone caller waits for. Size: a smaller file. Memory: a smaller peak, by more than a process's own noise.
    Accuracy: nothing more, the limits are what is asked for.
What is not better is rejected whatever the quality; so is what is shown to be inferior. What the evaluation rows cannot
decide is inconclusive and says how many rows would.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from optimizer.artifact.manifest import Estimate, Measurement, Verdict
from optimizer.artifact.session import Target
from optimizer.metrics.comparison import Paired
from optimizer.recipe.objective import Objective, Preference


@dataclass(frozen=True)
class Accept:
    """Not inferior at the margin, within the limits, and better in what is preferred."""

    reason: str
    verdict: ClassVar = Verdict.ACCEPT
    rows_needed: ClassVar[int | None] = None


@dataclass(frozen=True)
class Reject:
    """Inferior, beyond a limit, or not better in what is preferred."""

    reason: str
    verdict: ClassVar = Verdict.REJECT
    rows_needed: ClassVar[int | None] = None


@dataclass(frozen=True)
class Inconclusive:
    """Better, but the rows at hand cannot tell whether it is good enough; None: no number of rows would."""

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

# Two runs of one model differ by a few hundredths in the pages that the allocator holds.
_MEMORY_NOISE = 0.05

_DEVICE: dict[Target, str] = {"cpu": "the CPU", "cuda": "a CUDA device"}


@dataclass(frozen=True)
class Gain:
    """What a variant was measured to cost, beside its source."""

    # Source's time / variant's, by batch size; must have batch 1.
    speedups: Mapping[int, Estimate]
    p95_ms: float
    size_bytes: int
    source_size_bytes: int
    peak_memory_bytes: int
    # None: not known on this host.
    source_peak_memory_bytes: int | None = None


def decide(paired: Paired, gain: Gain, objective: Objective) -> Decision:
    """Judges a variant against its source."""
    if 1 not in gain.speedups:
        raise ValueError("the gate needs the speed ratio at batch 1")
    margin = objective.max_accuracy_drop
    refused = _beyond(gain, objective) or _not_better(gain, objective.prefer)
    if refused is not None:
        return Reject(refused)
    say = _share_of_source if paired.relative else _points
    bounds = paired.loss_bounds
    quality = (
        f"{paired.metric} {paired.value:.4f} against the source's {paired.source_value:.4f} on the same {paired.n} rows"
    )
    # Where less is better the change for the better is told, so that minus is worse for every metric.
    change = "change for the better" if paired.relative else "difference"
    if bounds.low > -margin:
        return Accept(
            f"{quality}: the {change} of {say(bounds.value, sign=True)} is above "
            f"{say(bounds.low, sign=True)} with 95% confidence, within the margin of {say(margin)}; "
            f"{_gained(gain, objective.prefer)}."
        )
    if bounds.high < -margin:
        return Reject(
            f"{quality}: the {change} of {say(bounds.value, sign=True)} is below "
            f"{say(bounds.high, sign=True)} with 95% confidence, worse than the margin of {say(margin)} allows."
        )
    needed = paired.rows_needed(margin)
    # More rows than these are needed by definition; the estimate may say fewer when this sample was unlucky.
    needed = None if needed is None else max(needed, paired.n + 1)
    advice = (
        f"{paired.n} rows resolve about {say(paired.resolvable)}, about {needed} evaluation rows would decide"
        if needed is not None
        else "no number of rows would decide, since the difference lies on the margin itself"
    )
    return Inconclusive(
        f"{quality}: the {change} of {say(bounds.value, sign=True)} lies between "
        f"{say(bounds.low, sign=True)} and {say(bounds.high, sign=True)} with 90% confidence, so the margin of "
        f"{say(margin)} cannot be decided; {advice}.",
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


def gain_of(measurement: Measurement, source_size_bytes: int, source_peak_memory_bytes: int | None = None) -> Gain:
    """What a measurement taken against a source says of the variant's costs."""
    return Gain(
        speedups=speedups_of(measurement),
        p95_ms=next(entry.latency.p95_ms for entry in measurement.latencies if entry.batch == 1),
        size_bytes=measurement.size_bytes,
        source_size_bytes=source_size_bytes,
        peak_memory_bytes=measurement.peak_memory_bytes,
        source_peak_memory_bytes=source_peak_memory_bytes,
    )


def _beyond(gain: Gain, objective: Objective) -> str | None:
    if objective.max_p95_ms is not None and gain.p95_ms > objective.max_p95_ms:
        allowed = f"at most {objective.max_p95_ms:g} ms are allowed"
        return f"95 of 100 calls at batch 1 take up to {gain.p95_ms:.3g} ms; {allowed}."
    if objective.max_size_bytes is not None and gain.size_bytes > objective.max_size_bytes:
        return f"the file has {gain.size_bytes} bytes; at most {objective.max_size_bytes} are allowed."
    return None


def _not_better(gain: Gain, prefer: Preference) -> str | None:
    if prefer == "latency":
        return _not_faster(gain.speedups)
    if prefer == "size" and gain.size_bytes >= gain.source_size_bytes:
        return f"not smaller than the source: {_sizes(gain)}."
    if prefer == "memory":
        if gain.source_peak_memory_bytes is None:
            raise ValueError("to prefer memory the gate needs the source's")
        if gain.peak_memory_bytes > (1 - _MEMORY_NOISE) * gain.source_peak_memory_bytes:
            return f"not measurably less memory than the source on this host: {_memory(gain)}."
    return None


def _gained(gain: Gain, prefer: Preference) -> str:
    speed = _speed(1, gain.speedups[1])
    if prefer == "size":
        return f"{_sizes(gain)}; {speed}"
    return f"{_memory(gain)}; {speed}" if prefer == "memory" else speed


def _sizes(gain: Gain) -> str:
    return f"{gain.size_bytes} bytes against the source's {gain.source_size_bytes}"


def _memory(gain: Gain) -> str:
    return f"a peak of {gain.peak_memory_bytes} bytes of memory against the source's {gain.source_peak_memory_bytes}"


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


def _share_of_source(share: float, *, sign: bool = False) -> str:
    """A share of the source's value, "-0.25% of the source's"."""
    return f"{100 * share:{'+' if sign else ''}.2f}% of the source's"
