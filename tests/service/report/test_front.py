import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from service.client.resources import Variant
from service.report.front import front, on_front

_POINTS = st.dictionaries(
    st.text("abcdefgh", min_size=1, max_size=3),
    st.tuples(st.integers(1, 6).map(float), st.integers(1, 6).map(float)),
    max_size=12,
)


def beaten(point: tuple[float, float], by: tuple[float, float]) -> bool:
    return by != point and by[0] <= point[0] and by[1] >= point[1]


@given(_POINTS)
def test_the_front_is_what_nothing_beats(points: dict[str, tuple[float, float]]) -> None:
    expected = {name for name, point in points.items() if not any(beaten(point, other) for other in points.values())}
    assert front(points) == expected


def test_only_accepted_and_measured_variants_stand_on_it(variants: list[Variant]) -> None:
    assert on_front(variants) == {"r1.fp32", "r1.int8"}
    unmeasured = [dataclasses.replace(variant, latencies=()) for variant in variants]
    assert on_front(unmeasured) == set()
