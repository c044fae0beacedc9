"""Intervals: published examples, symmetry, and coverage computed exactly instead of drawn."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.metrics.intervals import (
    Interval,
    PairedCounts,
    median_interval,
    paired_difference,
    rows_needed,
    wilson,
)
from optimizer.recipe.resolution import resolvable_difference


def counts_of(gained: int, lost: int, n: int) -> PairedCounts:
    return PairedCounts(n=n, both=0, gained=gained, lost=lost)


@st.composite
def paired_counts(draw: st.DrawFn) -> PairedCounts:
    n = draw(st.integers(1, 5000))
    gained = draw(st.integers(0, n))
    return counts_of(gained, draw(st.integers(0, n - gained)), n)


def test_wilson_matches_a_published_value() -> None:
    # Newcombe, Stat. Med. 17 (1998), table I: 81 of 263.
    interval = wilson(81, 263)
    assert interval.low == pytest.approx(0.2553, abs=5e-5)
    assert interval.high == pytest.approx(0.3662, abs=5e-5)


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_is_ordered_and_symmetric(case: tuple[int, int]) -> None:
    successes, n = case
    interval, mirrored = wilson(successes, n), wilson(n - successes, n)
    assert 0 <= interval.low <= interval.value <= interval.high <= 1
    assert interval.low == pytest.approx(1 - mirrored.high, abs=1e-12)


def test_wilson_covers_about_95_percent() -> None:
    n = 80
    coverages = []
    for percent in range(5, 100, 5):
        share = percent / 100
        covered = 0.0
        for successes in range(n + 1):
            interval = wilson(successes, n)
            if interval.low <= share <= interval.high:
                covered += math.comb(n, successes) * share**successes * (1 - share) ** (n - successes)
        coverages.append(covered)
    assert min(coverages) > 0.92
    assert 0.94 < sum(coverages) / len(coverages) < 0.965


@pytest.mark.parametrize(("successes", "n"), [(-1, 10), (11, 10), (0, 0)])
def test_wilson_refuses_what_is_no_proportion(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match="no proportion"):
        wilson(successes, n)


def test_paired_difference_matches_a_published_value() -> None:
    # Airway hyper-responsiveness, Fagerland, Lydersen and Laake, BMC Med. Res. Methodol. 13:91 (2013), table 6.
    interval = paired_difference(PairedCounts(n=21, both=1, gained=1, lost=7))
    assert interval.value == pytest.approx(-6 / 21)
    assert interval.low == pytest.approx(-0.517, abs=5e-4)
    assert interval.high == pytest.approx(-0.026, abs=5e-4)


@given(paired_counts())
def test_paired_difference_is_ordered_and_symmetric(counts: PairedCounts) -> None:
    interval = paired_difference(counts)
    mirrored = paired_difference(counts_of(counts.lost, counts.gained, counts.n))
    assert -1 <= interval.low <= interval.value <= interval.high <= 1
    assert interval.low == pytest.approx(-mirrored.high, abs=1e-9)


@given(paired_counts())
def test_more_confidence_is_wider(counts: PairedCounts) -> None:
    narrow, wide = paired_difference(counts, 0.9), paired_difference(counts, 0.95)
    assert wide.low <= narrow.low + 1e-12
    assert wide.high >= narrow.high - 1e-12


@given(st.integers(1, 100_000))
def test_without_discordant_rows_the_bound_is_the_rule_of_the_squared_quantile(n: int) -> None:
    # Tango's statistic solves to z^2 / (n + z^2) there.
    square = 1.959963984540054**2
    assert paired_difference(counts_of(0, 0, n)).low == pytest.approx(-square / (n + square), abs=1e-9)


def test_paired_difference_covers_about_95_percent() -> None:
    n, gained_share, lost_share = 40, 0.06, 0.1
    covered = 0.0
    for gained in range(n + 1):
        for lost in range(n + 1 - gained):
            chance = (
                math.comb(n, gained)
                * math.comb(n - gained, lost)
                * gained_share**gained
                * lost_share**lost
                * (1 - gained_share - lost_share) ** (n - gained - lost)
            )
            if chance > 1e-9:
                interval = paired_difference(counts_of(gained, lost, n))
                covered += chance * (interval.low <= gained_share - lost_share <= interval.high)
    assert 0.935 < covered < 0.975


def test_paired_counts_must_fit_together() -> None:
    with pytest.raises(ValueError, match="fit together"):
        PairedCounts(n=3, both=2, gained=1, lost=1)


@given(paired_counts(), st.floats(0.001, 0.2))
def test_rows_needed_do_decide(counts: PairedCounts, margin: float) -> None:
    needed = rows_needed(counts, margin)
    if needed is None:
        assert (counts.gained - counts.lost) / counts.n == pytest.approx(-margin, abs=1e-6)
        return
    # The same shares, in at least as many rows: the one-sided bound lies on the side of the difference.
    times = math.ceil(needed / counts.n)
    bounds = paired_difference(counts_of(counts.gained * times, counts.lost * times, counts.n * times), 0.9)
    if (counts.gained - counts.lost) / counts.n > -margin:
        assert bounds.low > -margin
    else:
        assert bounds.high < -margin


@given(st.integers(0, 200), st.floats(0.002, 0.1))
def test_a_wider_margin_needs_fewer_rows(lost_and_gained: int, margin: float) -> None:
    counts = counts_of(lost_and_gained, lost_and_gained, 1000)
    near, far = rows_needed(counts, margin), rows_needed(counts, 2 * margin)
    assert near is not None
    assert far is not None
    assert far <= near


def test_rows_on_the_margin_decide_nothing() -> None:
    assert rows_needed(counts_of(0, 10, 1000), 0.01) is None
    assert rows_needed(counts_of(5, 5, 1000), 0.0) is None


@given(st.integers(20, 100_000), st.floats(0.0, 0.3))
def test_resolvable_difference_shrinks_with_rows(n: int, discordance: float) -> None:
    margin = resolvable_difference(n, discordance)
    assert 0 < margin <= 1
    assert resolvable_difference(2 * n, discordance) <= margin + 1e-9
    assert resolvable_difference(n, min(1.0, discordance + 0.1)) >= margin - 1e-9


def test_resolvable_difference_says_what_rows_resolve() -> None:
    margin = resolvable_difference(1500, 0.01)
    needed = rows_needed(PairedCounts(n=200_000, both=0, gained=1000, lost=1000), margin)
    assert needed is not None
    assert needed == pytest.approx(1500, abs=2)
    with pytest.raises(ValueError, match="rows with discordance"):
        resolvable_difference(0, 0.1)


def test_median_interval_takes_the_binomial_ranks() -> None:
    # Conover, table of the sign test: 20 values, ranks 6 and 15.
    assert median_interval([float(value) for value in range(1, 21)]) == Interval(10.5, 6.0, 15.0)


@given(st.lists(st.floats(0.1, 10), min_size=6, max_size=80))
def test_median_interval_holds_the_median_and_at_least_its_confidence(values: list[float]) -> None:
    interval = median_interval(values)
    assert interval.low <= interval.value <= interval.high
    n = len(values)
    outside = sum(value < interval.low for value in sorted(values))
    assert 2 * sum(math.comb(n, below) for below in range(outside + 1)) / 2**n <= 0.05


def test_median_interval_needs_six_values() -> None:
    with pytest.raises(ValueError, match="too few"):
        median_interval([1.0] * 5)
