import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.train.schedule import warmup_cosine


@given(st.integers(1, 500), st.floats(0, 0.99))
def test_rate_rises_to_one_and_falls_towards_zero(steps, warmup_share):
    rates = [warmup_cosine(step, steps, warmup_share) for step in range(steps)]
    top = rates.index(max(rates))
    assert all(0 < rate <= 1 for rate in rates)
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)


@given(st.integers(2, 500), st.floats(0, 0.9))
def test_warm_up_is_linear(steps, warmup_share):
    warmup = round(warmup_share * steps)
    for step in range(warmup):
        assert warmup_cosine(step, steps, warmup_share) == pytest.approx((step + 1) / warmup)


def test_without_warm_up_it_starts_at_the_top_and_ends_above_zero():
    assert warmup_cosine(0, 10, 0) == 1
    assert 0 < warmup_cosine(9, 10, 0) < 0.05


@pytest.mark.parametrize("step", [-1, 10])
def test_step_outside_the_training_is_refused(step):
    with pytest.raises(ValueError, match="is not one of 10"):
        warmup_cosine(step, 10, 0.1)
