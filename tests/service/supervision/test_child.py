"""Pauses between restarts, and ends in words."""

from hypothesis import given
from hypothesis import strategies as st

from service.supervision.child import Child, Role, describe_end, pause_seconds


@given(st.integers(1, 10_000))
def test_pauses_grow_and_have_an_end(crashes: int) -> None:
    assert 0.1 <= pause_seconds(crashes) <= pause_seconds(crashes + 1) <= 10.0


def test_the_first_restart_comes_at_once() -> None:
    assert [pause_seconds(crashes) for crashes in (1, 2, 3, 20)] == [0.1, 0.2, 0.4, 10.0]


def test_ends_are_described() -> None:
    assert describe_end(3) == "ended with status 3"
    assert describe_end(-9) == "was killed by SIGKILL"
    assert describe_end(-250) == "was killed by signal 250"


def test_a_child_that_was_not_started_has_not_ended() -> None:
    child = Child(Role("role", ("true",), 1.0))
    child.terminate()
    child.kill()
    assert child.ended() is None
    assert child.pid is None
