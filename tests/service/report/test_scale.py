from hypothesis import given
from hypothesis import strategies as st

from service.report.scale import in_view, logarithmic, padded

_INTERVALS = st.lists(
    st.tuples(st.floats(0, 1), st.floats(0, 1)).map(lambda pair: (min(pair), max(pair))), min_size=1, max_size=6
)


@given(_INTERVALS, _INTERVALS)
def test_what_must_be_seen_is_seen(must: list[tuple[float, float]], may: list[tuple[float, float]]) -> None:
    shown = in_view(must, may)
    assert shown.low < shown.high
    assert all(shown.low <= low and high <= shown.high for low, high in must)


def test_what_lies_far_below_is_left_out_and_what_is_near_is_not() -> None:
    must = [(0.94, 0.97)]
    assert in_view(must, [(0.08, 0.12)]).low > 0.9
    assert in_view(must, [(0.90, 0.93)]).low < 0.90


def test_only_rejected_points_are_shown_too() -> None:
    assert in_view([], [(0.1, 0.2)]).low < 0.1


@given(st.floats(1e-3, 1e3), st.floats(1, 100), st.booleans())
def test_there_is_room_at_both_ends(low: float, ratio: float, log: bool) -> None:
    shown = padded(low, low * ratio, log)
    assert shown.low < low
    assert low * ratio < shown.high
    assert not log or shown.low > 0


def test_wide_spans_are_logarithmic() -> None:
    assert logarithmic([1, 10])
    assert not logarithmic([1, 2])
    assert not logarithmic([0, 10])
