from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.batching.policy import Choice, Limits, choose


@dataclass(frozen=True)
class Waiting:
    rows: int
    shapes: tuple[tuple[int, ...], ...] = ((1,),)


waiting = st.lists(st.builds(Waiting, st.integers(1, 9), st.sampled_from([((1,),), ((2,),)])), min_size=1, max_size=40)
limits = st.builds(Limits, st.integers(0, 16), st.integers(0, 5))


@given(waiting, st.integers(0, 10), limits)
def test_a_choice_takes_the_oldest_or_waits_within_its_delay(entries, age_ns, bounds) -> None:
    choice = choose(entries, age_ns, bounds)
    if choice.take:
        assert choice.take[0] == 0
        assert choice.wait_ns == 0
        assert list(choice.take) == sorted(set(choice.take))
    else:
        assert 0 < choice.wait_ns <= bounds.delay_ns - age_ns


@given(waiting, limits)
def test_a_batch_has_one_shape_fits_the_limit_and_overtakes_nobody_of_its_shape(entries, bounds) -> None:
    take = choose(entries, 10**9, bounds).take
    taken = [entries[position] for position in take]
    assert {entry.shapes for entry in taken} == {entries[0].shapes}
    assert len(taken) == 1 or sum(entry.rows for entry in taken) <= bounds.max_rows
    of_the_shape = [position for position, entry in enumerate(entries) if entry.shapes == entries[0].shapes]
    assert list(take) == of_the_shape[: len(take)]


@given(waiting, limits.filter(lambda bounds: bounds.max_rows > 0))
def test_a_batch_leaves_out_nothing_that_fits_next(entries, bounds) -> None:
    take = choose(entries, 10**9, bounds).take
    rows = sum(entries[position].rows for position in take)
    following = [
        entry for position, entry in enumerate(entries) if position > take[-1] and entry.shapes == entries[0].shapes
    ]
    assert not following or rows + following[0].rows > bounds.max_rows


def test_a_full_batch_never_waits() -> None:
    assert choose([Waiting(4), Waiting(4)], 0, Limits(8, 1000)) == Choice((0, 1))
    assert choose([Waiting(4), Waiting(5)], 0, Limits(8, 1000)) == Choice((0,))
    assert choose([Waiting(20)], 0, Limits(8, 1000)) == Choice((0,))


@pytest.mark.parametrize(("age_ns", "choice"), [(0, Choice((), 1000)), (999, Choice((), 1)), (1000, Choice((0,)))])
def test_a_short_batch_waits_out_the_delay_of_its_oldest(age_ns, choice) -> None:
    assert choose([Waiting(1)], age_ns, Limits(8, 1000)) == choice


def test_without_a_batch_axis_requests_go_one_by_one() -> None:
    assert choose([Waiting(1), Waiting(1)], 0, Limits(0, 1000)) == Choice((0,))
