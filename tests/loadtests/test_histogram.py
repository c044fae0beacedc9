import json
import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.histogram import Histogram

_LATENCIES_MS = st.lists(st.floats(0.001, 1e6), max_size=60)
_SHARES = st.sampled_from([Fraction(0), Fraction(1, 2), Fraction(95, 100), Fraction(99, 100), Fraction(1)])


def merged(*parts: Histogram) -> Histogram:
    whole = Histogram()
    for part in parts:
        whole.merge(part)
    return whole


@given(_LATENCIES_MS, _LATENCIES_MS)
def test_merging_equals_recording_everything_in_one(one: list[float], other: list[float]) -> None:
    assert merged(Histogram.of(one), Histogram.of(other)) == Histogram.of(one + other)


@given(_LATENCIES_MS, _LATENCIES_MS, _LATENCIES_MS)
def test_merging_does_not_care_for_order(one: list[float], two: list[float], three: list[float]) -> None:
    a, b, c = Histogram.of(one), Histogram.of(two), Histogram.of(three)
    assert merged(merged(a, b), c) == merged(a, merged(b, c)) == merged(c, b, a)


def test_merging_leaves_the_other_as_it_was() -> None:
    mine, other = Histogram.of([1.0]), Histogram.of([2.0])
    mine.merge(other)
    mine.record(3.0)
    assert (mine.count, other) == (3, Histogram.of([2.0]))


@given(st.lists(st.floats(0.001, 1e6), min_size=1, max_size=200), _SHARES)
def test_a_quantile_is_within_half_a_percent_of_the_nearest_rank(latencies_ms: list[float], share: Fraction) -> None:
    rank = max(1, math.ceil(share * len(latencies_ms)))
    truth = sorted(latencies_ms)[rank - 1]
    assert Histogram.of(latencies_ms).quantile(float(share)) == pytest.approx(truth, rel=0.005)


@given(_LATENCIES_MS)
def test_json_gives_back_the_same(latencies_ms: list[float]) -> None:
    made = Histogram.of(latencies_ms)
    back = Histogram.from_json(json.loads(json.dumps(made.to_json())))
    assert back == made
    assert back.count == len(latencies_ms)


@given(st.floats(-1e6, 0.001))
def test_what_is_below_a_microsecond_counts_as_one(latency_ms: float) -> None:
    assert Histogram.of([latency_ms]) == Histogram.of([0.001])


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_refused(wrong: float) -> None:
    made = Histogram()
    with pytest.raises(ValueError, match="is no latency"):
        made.record(wrong)
    assert made.count == 0


def test_nothing_recorded_has_no_quantile() -> None:
    assert math.isnan(Histogram().quantile(0.5))


@pytest.mark.parametrize("share", [-0.01, 1.01, math.nan])
def test_a_share_outside_of_0_to_1_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="is no share"):
        Histogram.of([1.0]).quantile(share)


def test_histograms_differ_by_counts_and_from_other_things() -> None:
    assert Histogram.of([1.0]) != Histogram.of([1.0, 1.0])
    assert Histogram({5: 0}) == Histogram()
    assert Histogram() != {}
