import re
import xml.etree.ElementTree as ElementTree

from service.report.plot import Kind, Point, quality_against_latency

_POINTS = [
    Point("r1.fp32", 4.0, 0.959, 0.946, 0.971, "source"),
    Point("r1.int8", 1.1, 0.957, 0.944, 0.969, "accepted", 0.9, 1.4),
    Point("r1.half", 2.2, 0.951, 0.938, 0.963, "undecided"),
    Point("r1.bad", 0.8, 0.104, 0.09, 0.12, "rejected"),
    Point("promised", 1.0, 0.958, 0.945, 0.97, "reference"),
]


def drawn(points: list[Point] = _POINTS, front: tuple[str, ...] = ("r1.fp32", "r1.int8")) -> str:
    return quality_against_latency(points, x_label="ms", y_label="accuracy", front=front, description='a "b" <c>')


def test_plot_is_an_element_with_the_names_as_text() -> None:
    svg = drawn()
    assert svg.startswith('<svg role="img" aria-label="a &quot;b&quot; &lt;c>"')
    root = ElementTree.fromstring(svg)
    texts = {"".join(element.itertext()).strip() for element in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {"r1.fp32", "r1.int8", "r1.half", "r1.bad (0.104, off the scale)", "accuracy", "ms"} <= texts
    # References are not named: they stand beside what they refer to.
    assert "promised" not in texts


def test_colours_are_the_pages() -> None:
    svg = drawn()
    for kind in ("source", "accepted", "rejected", "undecided", "reference", "ink", "muted", "grid"):
        assert f"var(--plot-{kind}," in svg
    without_fallbacks = re.sub(r"var\(--plot-\w+, #[0-9a-f]{6}\)", "", svg)
    assert re.findall(r"#[0-9a-f]{6}\b", without_fallbacks) == []


def test_the_result_depends_on_the_arguments_alone() -> None:
    assert drawn() == drawn()


def test_one_point_and_equal_points_can_be_drawn() -> None:
    kinds: tuple[Kind, ...] = ("source", "rejected")
    for kind in kinds:
        ElementTree.fromstring(drawn([Point("a", 1.0, 0.5, 0.5, 0.5, kind)] * 2, ("a",)))


def test_a_name_stands_clear_of_the_bars() -> None:
    """Beside the point when nothing is there; off the bar of latencies where there is one."""

    def height_px(name: str, points: list[Point]) -> float:
        found = re.search(rf'y="([\d.]+)"[^>]*>{name}</text>', drawn(points, ()))
        assert found is not None
        return float(found[1])

    other = Point("b", 8.0, 0.8, 0.7, 0.9, "accepted")
    beside = height_px("a", [Point("a", 2.0, 0.5, 0.4, 0.6, "accepted"), other])
    clear = height_px("a", [Point("a", 2.0, 0.5, 0.4, 0.6, "accepted", 0.5, 6.0), other])
    assert abs(clear - beside) > 8
