import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.results.judged import Interval, Row, row_of, rows_needed


def _row(difference: Interval | None) -> Row:
    return Row("r1.int8", "accept", Interval(0.9, 0.88, 0.92), difference, 1000, Interval(2.0, 1.9, 2.1), 4.0)


@pytest.mark.parametrize(
    ("difference", "not_inferior"),
    [
        (Interval(0.0, -0.005, 0.005), True),
        (Interval(0.0, -0.011, 0.011), True),  # the two-sided limit lies beyond the margin, the one-sided does not
        (Interval(0.0, -0.02, 0.02), False),
        (Interval(-0.03, -0.04, -0.02), False),
        (None, False),
    ],
)
def test_not_inferior_is_the_one_sided_bound(difference, not_inferior):
    assert _row(difference).is_not_inferior(0.01) is not_inferior


@given(st.floats(0.001, 0.1), st.integers(50, 5000), st.floats(0.002, 0.1))
def test_rows_needed_fall_with_the_margin_and_not_with_the_rows_at_hand(half, n, margin):
    needed = rows_needed(Interval(0.0, -half, half), n, margin)
    assert needed >= rows_needed(Interval(0.0, -half, half), n, 2 * margin)
    # Four times the rows give half the width.
    assert rows_needed(Interval(0.0, -half / 2, half / 2), 4 * n, margin) == pytest.approx(needed, abs=1)


def test_a_row_is_read_from_the_command_lines_json():
    figures = {"name": "accuracy", "value": 0.9, "low": 0.88, "high": 0.92, "n": 1000}
    speedup = {"1": {"value": 2.0, "low": 1.9, "high": 2.1}}
    variant = {
        "name": "r1.int8", "verdict": "accept", "metric": figures, "difference": None, "speedup": speedup,
        "size_bytes": 250,
    }  # fmt: skip
    row = row_of(variant, 1000)
    assert (row.smaller, row.n, row.speedup, row.difference) == (4.0, 1000, Interval(2.0, 1.9, 2.1), None)
    unmeasured = row_of(variant | {"metric": None, "speedup": {}}, 1000)
    assert (unmeasured.n, unmeasured.metric, unmeasured.speedup) == (0, None, None)
