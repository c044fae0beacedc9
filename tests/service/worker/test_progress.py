"""Progress is a share of the work, never more than all of it."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.worker.progress import Course, Place, eta_seconds, places

counts = st.lists(st.integers(0, 10), min_size=1, max_size=20)
shares = st.floats(allow_nan=False)


@given(counts)
def test_the_places_of_the_trials_cover_the_job(steps: list[int]) -> None:
    found = places(steps)
    assert found[0].before == 0
    for place, following in itertools.pairwise(found):
        assert following.before == pytest.approx(place.of_job(1.0))
    assert found[-1].of_job(1.0) == pytest.approx(1.0)


@given(counts, shares)
def test_a_trial_stays_within_its_place(steps: list[int], share: float) -> None:
    for place in places(steps):
        assert place.before <= place.of_job(share) <= place.before + place.share


def test_longer_recipes_weigh_more() -> None:
    assert places([1, 3]) == [Place(0.0, 1 / 3), Place(1 / 3, 2 / 3)]


@given(st.floats(0, 1e6), st.floats(0, 1), st.floats(0, 1))
def test_an_estimate_is_never_negative(elapsed: float, start: float, share: float) -> None:
    eta = eta_seconds(elapsed, start, share)
    assert eta is None or eta >= 0


def test_the_rest_takes_the_pace_of_what_was_done() -> None:
    assert eta_seconds(10.0, 0.0, 0.25) == pytest.approx(30.0)
    # Work of an earlier run of the job took none of this one's time.
    assert eta_seconds(10.0, 0.5, 0.75) == pytest.approx(10.0)
    assert eta_seconds(10.0, 0.5, 0.5) is None
    percent, eta = Course(Place(0.5, 0.5), 100.0, 0.5).at(0.5, 110.0)
    assert (percent, eta) == (pytest.approx(75.0), pytest.approx(10.0))
