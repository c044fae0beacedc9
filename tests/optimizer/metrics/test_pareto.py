"""The front: exactly what nothing else dominates."""

from hypothesis import given
from hypothesis import strategies as st

from optimizer.metrics.pareto import Point, dominates, front

points = st.lists(
    st.builds(
        Point, name=st.text("abc", max_size=2), cost=st.integers(0, 5).map(float), quality=st.integers(0, 5).map(float)
    ),
    max_size=12,
)


@given(points)
def test_the_front_is_what_nothing_dominates(candidates: list[Point]) -> None:
    kept = front(candidates)
    expected = [point for point in candidates if not any(dominates(other, point) for other in candidates)]
    assert sorted(kept, key=repr) == sorted(expected, key=repr)
    assert [point.cost for point in kept] == sorted(point.cost for point in kept)


def test_a_point_does_not_dominate_its_equal() -> None:
    point = Point("a", 1.0, 1.0)
    assert not dominates(point, point)
    assert front([point, Point("b", 1.0, 1.0), Point("c", 2.0, 0.5)]) == [point, Point("b", 1.0, 1.0)]
