import json

from hypothesis import given
from hypothesis import strategies as st

from loadtests.histogram import Histogram
from loadtests.tally import Tally

_NAMES = st.sampled_from(["a", "b", "c"])
_REPLIES = st.tuples(_NAMES, _NAMES, st.integers(0, 3), st.integers(0, 2), st.floats(0.1, 50), st.floats(0, 4))
_EVENTS = st.lists(st.one_of(_REPLIES, st.tuples(st.sampled_from(["UNAVAILABLE", "UNKNOWN"]), st.text(max_size=3))))


def tally(events: list[tuple]) -> Tally:
    made = Tally()
    for event in events:
        if len(event) == 2:
            made.error(*event)
        else:
            made.reply(*event)
    return made


def plain(made: Tally) -> dict:
    """Its JSON form with the order of first meeting left out."""
    return json.loads(json.dumps(made.to_json(), sort_keys=True))


def test_counts_by_variant_sample_second_and_user() -> None:
    made = tally([("u1", "x", 0, 7, 1.0, 0.2), ("u2", "x", 0, 7, 2.0, 1.9), ("u1", "y", 3, 1, 4.0, 0.0)])
    made.error("UNAVAILABLE", "first")
    made.error("UNAVAILABLE", "second")
    assert made.sent == 5
    assert made.errors == {"UNAVAILABLE": 2}
    assert made.error_examples == {"UNAVAILABLE": "first"}
    assert made.answered_by == {"u1": {"x", "y"}, "u2": {"x"}}
    assert made.variants["x"].answers == {(0, 7): 2}
    assert made.variants["x"].latency == Histogram.of([1.0, 2.0])
    assert made.variants["x"].seconds == {0: Histogram.of([1.0]), 1: Histogram.of([2.0])}
    assert made.variants["y"].answers == {(3, 1): 1}


@given(_EVENTS, _EVENTS)
def test_merging_equals_counting_everything_in_one(one: list[tuple], other: list[tuple]) -> None:
    whole, rest = tally(one), tally(other)
    whole.merge(rest)
    assert plain(whole) == plain(tally(one + other))
    assert plain(rest) == plain(tally(other))


@given(_EVENTS)
def test_json_gives_back_the_same(events: list[tuple]) -> None:
    made = tally(events)
    back = Tally.from_json(json.loads(json.dumps(made.to_json())))
    assert plain(back) == plain(made)
    assert back.variants == made.variants
    assert back.answered_by == made.answered_by


@given(_EVENTS)
def test_what_came_back_from_json_still_counts(events: list[tuple]) -> None:
    back = Tally.from_json(tally(events).to_json())
    back.reply("new", "new", 0, 0, 1.0, 9.0)
    assert plain(back) == plain(tally([*events, ("new", "new", 0, 0, 1.0, 9.0)]))
