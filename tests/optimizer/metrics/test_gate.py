"""The gate: faster and not inferior, and a sentence with figures whatever it says."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.artifact.manifest import Estimate, Verdict
from optimizer.metrics import gate
from optimizer.metrics.comparison import Paired
from optimizer.metrics.gate import Accept, Gain, Inconclusive, Reject, not_measured
from optimizer.metrics.intervals import Interval, PairedCounts, paired_difference
from optimizer.recipe.objective import Objective


def ratio(low: float, value: float, high: float) -> Estimate:
    return Estimate(name="speedup", value=value, low=low, high=high, n=24)


def paired_of(counts: PairedCounts) -> Paired:
    return Paired(
        metric="accuracy", n=counts.n, value=counts.value, source_value=counts.source_value,
        difference=paired_difference(counts), loss_bounds=paired_difference(counts, confidence=0.90), relative=False,
        counts=counts,
    )  # fmt: skip


def gain(speedups: dict[int, Estimate], **changes: Any) -> Gain:
    values: dict[str, Any] = {
        "p95_ms": 3.0, "size_bytes": 900, "source_size_bytes": 1000, "peak_memory_bytes": 900,
        "source_peak_memory_bytes": 1000,
    }  # fmt: skip
    return Gain(speedups=speedups, **values | changes)


def decide(counts: PairedCounts, speedups: dict[int, Estimate], margin: float) -> gate.Decision:
    return gate.decide(paired_of(counts), gain(speedups), Objective(max_accuracy_drop=margin))


FASTER = {1: ratio(1.9, 2.0, 2.1), 8: ratio(2.4, 2.5, 2.6), 32: ratio(2.9, 3.0, 3.1)}
# A difference of 0 with 20 discordant rows in 5000: bounds at about a sixth of a point.
AS_GOOD = PairedCounts(n=5000, both=4700, gained=10, lost=10)


def test_as_good_and_faster_is_accepted_with_its_figures() -> None:
    decision = decide(AS_GOOD, FASTER, 0.01)
    assert isinstance(decision, Accept)
    assert decision.verdict is Verdict.ACCEPT
    assert "accuracy 0.9420 against the source's 0.9420 on the same 5000 rows" in decision.reason
    assert (
        "2.00 times as fast as the source at batch 1 (95% interval 1.90 to 2.10, 24 alternating pairs)"
        in decision.reason
    )


def test_clearly_worse_is_rejected() -> None:
    decision = decide(PairedCounts(n=5000, both=4000, gained=10, lost=400), FASTER, 0.01)
    assert isinstance(decision, Reject)
    assert "worse than the margin of 1.00 points allows" in decision.reason


def test_few_rows_are_inconclusive_and_say_how_many_would_do() -> None:
    decision = decide(PairedCounts(n=60, both=55, gained=1, lost=1), FASTER, 0.01)
    assert isinstance(decision, Inconclusive)
    assert decision.rows_needed is not None
    assert decision.rows_needed > 60
    assert f"about {decision.rows_needed} evaluation rows would decide" in decision.reason


def test_a_difference_on_the_margin_is_never_decided() -> None:
    decision = decide(PairedCounts(n=1000, both=900, gained=0, lost=10), FASTER, 0.01)
    assert isinstance(decision, Inconclusive)
    assert decision.rows_needed is None
    assert "no number of rows would decide" in decision.reason


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (
            {1: ratio(0.8, 0.9, 0.95)},
            "slower than the source on this host: 0.90 times as fast as the source at batch 1",
        ),
        ({1: ratio(0.98, 1.01, 1.04)}, "not measurably faster"),
        (
            {32: ratio(0.7, 0.8, 0.9)},
            "slower than the source on this host: 0.80 times as fast as the source at batch 32",
        ),
    ],
)
def test_what_is_not_faster_is_rejected_however_good(changed: dict[int, Estimate], words: str) -> None:
    decision = decide(AS_GOOD, FASTER | changed, 0.01)
    assert isinstance(decision, Reject)
    assert words in decision.reason


def test_a_draw_at_a_large_batch_does_not_matter() -> None:
    assert isinstance(decide(AS_GOOD, FASTER | {32: ratio(0.95, 1.0, 1.05)}, 0.01), Accept)


def test_a_model_without_batches_is_judged_at_batch_1() -> None:
    assert isinstance(decide(AS_GOOD, {1: FASTER[1]}, 0.01), Accept)


def test_batch_1_is_needed() -> None:
    with pytest.raises(ValueError, match="batch 1"):
        decide(AS_GOOD, {8: FASTER[8]}, 0.01)


SLOWER = {1: ratio(0.8, 0.9, 0.95)}


@pytest.mark.parametrize(
    ("objective", "speedups", "changes", "words"),
    [
        (Objective(prefer="size"), SLOWER, {}, "900 bytes against the source's 1000"),
        (Objective(prefer="memory"), SLOWER, {}, "a peak of 900 bytes of memory"),
        (Objective(prefer="accuracy", max_p95_ms=4), SLOWER, {}, "0.90 times as fast"),
        (Objective(max_p95_ms=3.0, max_size_bytes=900), FASTER, {}, "2.00 times as fast"),
    ],
)
def test_what_is_preferred_is_what_must_be_better(
    objective: Objective, speedups: dict[int, Estimate], changes: dict[str, Any], words: str
) -> None:
    decision = gate.decide(paired_of(AS_GOOD), gain(speedups, **changes), objective)
    assert isinstance(decision, Accept)
    assert words in decision.reason


@pytest.mark.parametrize(
    ("objective", "changes", "words"),
    [
        (Objective(prefer="size"), {"size_bytes": 1000}, "not smaller than the source"),
        (Objective(prefer="memory"), {"peak_memory_bytes": 980}, "not measurably less memory"),
        (Objective(max_p95_ms=2.9), {}, "at most 2.9 ms are allowed"),
        (Objective(max_size_bytes=899), {}, "at most 899 are allowed"),
    ],
)
def test_limits_and_preferences_refuse(objective: Objective, changes: dict[str, Any], words: str) -> None:
    decision = gate.decide(paired_of(AS_GOOD), gain(FASTER, **changes), objective)
    assert isinstance(decision, Reject)
    assert words in decision.reason


def relative(low: float, value: float, high: float) -> Paired:
    return Paired(
        metric="perplexity", n=100, value=10 * (1 - value), source_value=10.0, difference=Interval(-10 * value, -1, 1),
        loss_bounds=Interval(value, low, high), relative=True,
    )  # fmt: skip


def test_margins_on_metrics_without_an_end_are_shares_of_the_sources_value() -> None:
    objective = Objective(max_accuracy_drop=0.02)
    accepted = gate.decide(relative(-0.015, -0.01, -0.005), gain(FASTER), objective)
    assert isinstance(accepted, Accept)
    assert "change for the better of -1.00% of the source's" in accepted.reason
    assert isinstance(gate.decide(relative(-0.05, -0.04, -0.03), gain(FASTER), objective), Reject)
    open_case = gate.decide(relative(-0.03, -0.01, 0.01), gain(FASTER), objective)
    assert isinstance(open_case, Inconclusive)
    # An interval of that width must shrink about fivefold, so rows grow about as its square.
    assert open_case.rows_needed is not None
    assert 800 < open_case.rows_needed < 1100


def test_another_target_is_not_measured() -> None:
    decision = not_measured("cuda", "cpu")
    assert decision.verdict is Verdict.NOT_MEASURED
    assert "made for a CUDA device" in decision.reason


@given(
    st.integers(50, 5000).flatmap(
        lambda n: st.tuples(st.just(n), st.integers(0, n // 3), st.integers(0, n // 3), st.integers(0, n // 3))
    ),
    st.floats(0.0, 0.3),
)
def test_a_wider_margin_never_turns_an_acceptance_into_anything_else(
    case: tuple[int, int, int, int], margin: float
) -> None:
    n, both, gained, lost = case
    counts = PairedCounts(n=n, both=both, gained=gained, lost=lost)
    order = {Verdict.REJECT: 0, Verdict.INCONCLUSIVE: 1, Verdict.ACCEPT: 2}
    narrow = order[decide(counts, FASTER, margin).verdict]
    wide = order[decide(counts, FASTER, margin + 0.1).verdict]
    assert wide >= narrow
    # Losing the rows that were gained is never better.
    assert order[decide(PairedCounts(n=n, both=both, gained=lost, lost=gained), FASTER, margin).verdict] >= 0
