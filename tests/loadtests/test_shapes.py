import itertools
import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from loadtests.shapes import constant, due, poisson, sustainable

_RATES = st.floats(0.1, 5000)


@given(_RATES, st.integers(1, 200))
def test_constant_arrivals_are_evenly_spaced_and_never_drift(rate: float, number: int) -> None:
    times = list(itertools.islice(constant(rate), number + 1))
    assert times[0] == 0
    assert times[number] == pytest.approx(number / rate, rel=1e-12)


@given(_RATES, st.integers(0, 2**32))
def test_poisson_arrivals_never_go_back_and_repeat_with_their_seed(rate: float, seed: int) -> None:
    times = list(itertools.islice(poisson(rate, random.Random(seed)), 100))
    assert all(earlier <= later for earlier, later in itertools.pairwise(times))
    assert times[0] > 0
    assert times == list(itertools.islice(poisson(rate, random.Random(seed)), 100))


def test_poisson_gaps_are_exponential_at_the_rate() -> None:
    times = [0.0, *itertools.islice(poisson(200.0, random.Random(3)), 4000)]
    gaps = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert stats.kstest(gaps, stats.expon(scale=1 / 200).cdf).pvalue > 0.01


def test_due_finds_the_schedule_by_name() -> None:
    assert list(itertools.islice(due("constant", 4.0, random.Random(0)), 3)) == [0, 0.25, 0.5]
    expected = list(itertools.islice(poisson(4.0, random.Random(0)), 3))
    assert list(itertools.islice(due("poisson", 4.0, random.Random(0)), 3)) == expected
    with pytest.raises(ValueError, match="closed loop"):
        due("closed", 4.0, random.Random(0))


@pytest.mark.parametrize("rate", [0.0, -1.0, math.nan])
def test_a_rate_must_be_above_0(rate: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        constant(rate)
    with pytest.raises(ValueError, match="above 0"):
        poisson(rate, random.Random(0))


@pytest.mark.parametrize(("capacity", "rate"), [(400, 200), (1000, 500), (1500, 500), (2, 1), (0.5, 1)])
def test_a_sustainable_rate_is_half_of_the_capacity_within_bounds(capacity: float, rate: float) -> None:
    assert sustainable(capacity) == rate


@given(st.floats(0.01, 1e6), st.floats(0.01, 1e6))
def test_more_capacity_never_means_a_lower_rate(one: float, other: float) -> None:
    low, high = sorted((one, other))
    assert 1 <= sustainable(low) <= sustainable(high) <= 500
