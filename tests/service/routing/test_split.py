from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.routing.split import BUCKETS, Split

KEYS = [f"user-{number}" for number in range(4000)]


@st.composite
def shares(draw, arms: int | None = None) -> dict[str, int]:
    count = arms or draw(st.integers(1, 4))
    cuts = sorted(draw(st.sets(st.integers(1, BUCKETS - 1), min_size=count - 1, max_size=count - 1)))
    ends = [0, *cuts, BUCKETS]
    return {f"r1.v{number}": ends[number + 1] - ends[number] for number in range(count)}


def dealt(split: Split) -> list[str]:
    arms = tuple(split.shares)
    return [arms[arm] for arm in split._dealt] if len(arms) > 1 else list(arms) * BUCKETS


@given(shares())
def test_buckets_are_dealt_exactly(wanted) -> None:
    assert Counter(dealt(Split(wanted, "salt"))) == wanted


@given(shares())
def test_ten_thousand_draws_are_exactly_the_shares(wanted) -> None:
    split = Split(wanted, "salt")
    assert Counter(split.by_draw(draw) for draw in range(7, 7 + BUCKETS)) == wanted


@given(shares(arms=2), st.integers(0, 10**9))
def test_any_hundred_draws_are_close_to_the_shares(wanted, start) -> None:
    split = Split(wanted, "salt")
    counted = Counter(split.by_draw(draw) for draw in range(start, start + 100))
    assert all(abs(counted[arm] - points / 100) <= 4 for arm, points in wanted.items())


@given(shares(), st.text(max_size=20), st.text(max_size=8))
def test_a_key_sticks_whatever_the_order_of_the_arms(wanted, key, salt) -> None:
    backwards = dict(reversed(wanted.items()))
    assert Split(wanted, salt).by_key(key) == Split(backwards, salt).by_key(key)


@given(shares(arms=2), shares(arms=2))
def test_between_two_arms_only_the_difference_moves(before, after) -> None:
    moved = sum(a != b for a, b in zip(dealt(Split(before, "")), dealt(Split(after, "")), strict=True))
    assert moved == abs(before["r1.v0"] - after["r1.v0"])


@given(shares(arms=3), shares(arms=3))
def test_between_three_arms_little_more_than_the_difference_moves(before, after) -> None:
    moved = sum(a != b for a, b in zip(dealt(Split(before, "")), dealt(Split(after, "")), strict=True))
    must = sum(abs(before[arm] - after[arm]) for arm in before) // 2
    assert must <= moved <= 2 * must + BUCKETS // 100


def test_a_new_arm_takes_from_the_others_without_stirring_them() -> None:
    before = dealt(Split({"a": 9000, "b": 1000}, ""))
    after = dealt(Split({"a": 8000, "b": 1000, "c": 1000}, ""))
    stirred = sum(old != new != "c" for old, new in zip(before, after, strict=True))
    assert stirred <= 100


def test_keys_follow_the_shares_and_another_salt_deals_them_anew() -> None:
    split, other = Split({"a": 7500, "b": 2500}, "one"), Split({"a": 7500, "b": 2500}, "two")
    here, there = [split.by_key(key) for key in KEYS], [other.by_key(key) for key in KEYS]
    assert abs(here.count("a") / len(KEYS) - 0.75) < 0.03
    same = sum(a == b for a, b in zip(here, there, strict=True)) / len(KEYS)
    assert abs(same - (0.75**2 + 0.25**2)) < 0.04


def test_the_deal_is_the_same_on_every_host_and_in_every_version() -> None:
    split = Split({"r1.fp32": 5000, "r1.int8": 5000}, "salt")
    assert [split.by_key(key) for key in ("ada", "grace", "edsger", "barbara", "alan")] == PINNED


PINNED = ["r1.int8", "r1.fp32", "r1.int8", "r1.int8", "r1.fp32"]


@pytest.mark.parametrize("wrong", [{"a": 9999}, {"a": 10_001, "b": -1}, {"a": 10_000, "b": 0}])
def test_shares_must_be_positive_and_whole(wrong) -> None:
    with pytest.raises(ValueError, match="10000"):
        Split(wrong, "")
