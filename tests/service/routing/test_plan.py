from hypothesis import given
from hypothesis import strategies as st

from service.routing.plan import Candidate, Presence, Shares, choose_shares

READY, COMING, ABSENT = Presence.READY, Presence.COMING, Presence.ABSENT


def split(generation: int, *arms: str) -> Shares:
    each = 10_000 // len(arms)
    points = [each] * (len(arms) - 1)
    return Shares(generation, tuple(zip(arms, [*points, 10_000 - sum(points)], strict=True)), "salt")


def fp32(presence: Presence) -> Candidate:
    return Candidate("r1.fp32", presence, source=True)


def int8(presence: Presence) -> Candidate:
    return Candidate("r1.int8", presence, source=False)


def alone(variant: str) -> Shares:
    return Shares(0, ((variant, 10_000),), "")


names = ["r1.fp32", "r1.int8", "r2.fp32"]
candidates = st.lists(
    st.builds(Candidate, st.sampled_from(names), st.sampled_from(Presence), st.booleans()),
    unique_by=lambda candidate: candidate.variant,
)
splits = st.none() | st.builds(
    lambda generation, arms: split(generation, *arms),
    st.integers(0, 3),
    st.lists(st.sampled_from(names), min_size=1, unique=True),
)


@given(candidates, splits, splits)
def test_only_ready_variants_ever_take_traffic(present, wanted, applied) -> None:
    chosen = choose_shares(present, wanted, applied)
    ready = {candidate.variant for candidate in present if candidate.presence is READY}
    assert chosen is None or {variant for variant, _ in chosen.arms} <= ready


@given(candidates, splits, splits)
def test_the_rule_is_idempotent(present, wanted, applied) -> None:
    chosen = choose_shares(present, wanted, applied)
    assert choose_shares(present, wanted, chosen) == chosen


@given(candidates, splits, splits)
def test_an_applied_split_stays_until_the_wanted_one_can_be_applied(present, wanted, applied) -> None:
    ready = {candidate.variant for candidate in present if candidate.presence is READY}
    if applied is None or not {variant for variant, _ in applied.arms} <= ready:
        return
    chosen = choose_shares(present, wanted, applied)
    can = wanted is not None and {variant for variant, _ in wanted.arms} <= ready
    assert chosen == (wanted if can else applied)


def test_the_first_source_takes_all_until_a_split_is_set() -> None:
    second = Candidate("r2.fp32", READY, source=True)
    assert choose_shares([fp32(READY), int8(READY), second], None, None) == alone("r1.fp32")
    assert choose_shares([fp32(COMING), second], None, None) is None
    assert choose_shares([fp32(ABSENT), second], None, None) == alone("r2.fp32")
    assert choose_shares([int8(READY)], None, None) is None


def test_a_split_waits_for_its_arms() -> None:
    wanted = split(1, "r1.fp32", "r1.int8")
    assert choose_shares([fp32(READY), int8(COMING)], wanted, alone("r1.fp32")) == alone("r1.fp32")
    assert choose_shares([fp32(READY), int8(READY)], wanted, alone("r1.fp32")) == wanted


def test_a_started_engine_waits_for_the_split_rather_than_show_another_variant() -> None:
    wanted = split(5, "r1.int8")
    assert choose_shares([fp32(READY), int8(COMING)], wanted, None) is None
    assert choose_shares([fp32(READY), int8(READY)], wanted, None) == wanted


def test_a_started_engine_falls_back_to_the_source_when_an_arm_cannot_come() -> None:
    assert choose_shares([fp32(READY), int8(ABSENT)], split(5, "r1.int8"), None) == alone("r1.fp32")
