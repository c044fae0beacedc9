import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.client.patience import FIRST_DELAY_SECONDS, LONGEST_DELAY_SECONDS, Patience, delay_seconds
from service.errors import Unavailable


@given(st.integers(1, 10_000))
def test_delays_grow_and_stay_bounded(failures: int) -> None:
    assert FIRST_DELAY_SECONDS <= delay_seconds(failures) <= delay_seconds(failures + 1) <= LONGEST_DELAY_SECONDS


@given(limit=st.floats(0, 100), progress_at=st.sets(st.integers(0, 30)))
def test_gives_up_within_the_limit_after_the_last_progress(limit: float, progress_at: set[int]) -> None:
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    patience = Patience(limit, lambda: now[0], sleep)
    last = 0.0

    def fail_for_ever() -> None:
        nonlocal last
        for step in range(200_000):
            if step in progress_at:
                patience.progressed()
                last = now[0]
            patience.wait(Unavailable("gone"))

    with pytest.raises(Unavailable, match="gone"):
        fail_for_ever()
    assert now[0] - last <= limit
