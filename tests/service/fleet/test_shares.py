"""Who is meant to get which share of a model's traffic."""

import pytest

from service.fleet.board import Serving
from service.fleet.shares import present_shares

R, L, U = Serving.READY, Serving.LOADING, Serving.UNAVAILABLE


@pytest.mark.parametrize(
    ("split", "sources", "shares"),
    [
        ({"a": 9000, "b": 1000, "c": 0}, {}, {"a": 0.9, "b": 0.1}),
        (None, {}, {}),
        (None, {"r1": R, "r2": R}, {"r1": 1.0}),
        (None, {"r1": L, "r2": R}, {}),
        (None, {"r1": U, "r2": R}, {"r2": 1.0}),
        (None, {"r1": U}, {}),
    ],
)
def test_shares(split: dict[str, int] | None, sources: dict[str, Serving], shares: dict[str, float]) -> None:
    assert present_shares(split, sources, sources.__getitem__) == shares
