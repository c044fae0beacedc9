"""Weights become hundredths of a percent that sum exactly."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.weights import WHOLE, basis_points
from service.errors import InvalidArgument

positive = st.lists(st.floats(0, 1e6, allow_nan=False), min_size=1, max_size=20).filter(lambda raw: sum(raw) > 1e-3)


@given(positive)
def test_the_sum_is_exact_and_nobody_is_off_by_a_whole_point(raw: list[float]) -> None:
    weights = {f"v{index}": value / sum(raw) * 100 for index, value in enumerate(raw)}
    points = basis_points(weights)
    assert sum(points.values()) == WHOLE
    assert list(points) == list(weights)
    for variant, weight in weights.items():
        assert abs(points[variant] - weight * 100) <= 1 + 1e-6


@pytest.mark.parametrize(
    ("weights", "points"),
    [
        ({"a": 100}, {"a": 10_000}),
        ({"a": 0, "b": 100}, {"a": 0, "b": 10_000}),
        ({"a": 33.33, "b": 33.33, "c": 33.33}, {"a": 3334, "b": 3333, "c": 3333}),
        ({"a": 90, "b": 10.01}, {"a": 8999, "b": 1001}),
    ],
)
def test_examples(weights: dict[str, float], points: dict[str, int]) -> None:
    assert basis_points(weights) == points


@pytest.mark.parametrize(
    "weights",
    [
        {},
        {"a": 0.0},
        {"a": 99.98},
        {"a": 100.02},
        {"a": float("nan")},
        {"a": float("inf")},
        {"a": -1.0, "b": 101.0},
        {"a": 1e308, "b": 1e308},
    ],
)
def test_what_is_no_split_is_refused(weights: dict[str, float]) -> None:
    with pytest.raises(InvalidArgument):
        basis_points(weights)
