import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.train.schedule import factor, plateau

_SCHEDULES = ("constant", "exponential", "cosine", "plateau")


@given(st.sampled_from(_SCHEDULES), st.integers(1, 500), st.floats(0, 0.99), st.floats(0.01, 1), st.integers(1, 50))
def test_rate_rises_to_one_and_never_rises_again(schedule, steps, warmup_share, gamma, per_epoch):
    rates = [factor(schedule, step, steps, warmup_share, gamma, per_epoch) for step in range(steps)]
    top = rates.index(max(rates))
    assert all(0 < rate <= 1 for rate in rates)
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)


@given(st.sampled_from(_SCHEDULES), st.integers(2, 500), st.floats(0, 0.9))
def test_warm_up_is_linear(schedule, steps, warmup_share):
    warmup = round(warmup_share * steps)
    for step in range(warmup):
        assert factor(schedule, step, steps, warmup_share, 0.5, 10) == pytest.approx((step + 1) / warmup)


def test_cosine_is_the_formula_of_the_paper_and_ends_above_zero():
    for step in range(10):
        expected = 0.5 * (1 + math.cos(math.pi * step / 10))
        assert factor("cosine", step, 10, 0, 0.5, 3) == pytest.approx(expected)
    assert 0 < factor("cosine", 9, 10, 0, 0.5, 3) < 0.05


def test_exponential_leaves_gamma_of_the_rate_after_each_epoch():
    assert factor("exponential", 0, 30, 0, 0.5, 10) == 1
    assert factor("exponential", 20, 30, 0, 0.5, 10) == pytest.approx(0.25)
    # Warm-up moves the whole curve.
    assert factor("exponential", 16, 30, 0.2, 0.5, 10) == pytest.approx(0.5)


def test_constant_stays():
    assert {factor("constant", step, 20, 0, 0.5, 5) for step in range(20)} == {1.0}


def test_plateau_falls_with_every_second_epoch_without_progress():
    rate, seen = 1.0, []
    for without in (0, 1, 2, 3, 4):
        rate = plateau(without, rate, 0.5)
        seen.append(rate)
    assert seen == [1.0, 1.0, 0.5, 0.5, 0.25]


@pytest.mark.parametrize("step", [-1, 10])
def test_step_outside_the_training_is_refused(step):
    with pytest.raises(ValueError, match="is not one of 10"):
        factor("cosine", step, 10, 0.1, 0.5, 5)
