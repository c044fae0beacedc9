from hypothesis import given
from hypothesis import strategies as st

from service.report.labels import Box, place

_FRAME = Box(0, 0, 800, 400)
_ANCHORS = st.lists(st.tuples(st.floats(0, 800), st.floats(0, 400)), max_size=8)


@given(_ANCHORS)
def test_every_label_keeps_its_size(anchors: list[tuple[float, float]]) -> None:
    boxes = place(anchors, [(60.0, 15.0)] * len(anchors), [], _FRAME)
    assert len(boxes) == len(anchors)
    assert all(abs(box.right - box.left - 60) < 1e-6 and abs(box.top - box.bottom - 15) < 1e-6 for box in boxes)


@given(st.tuples(st.floats(0, 800), st.floats(0, 400)))
def test_a_lone_label_stays_inside_and_off_its_point(anchor: tuple[float, float]) -> None:
    x, y = anchor
    [box] = place([anchor], [(60.0, 15.0)], [Box(x - 3, y - 3, x + 3, y + 3)], _FRAME)
    assert box.overlap(_FRAME) > 0.999 * box.area
    assert box.overlap(Box(x - 3, y - 3, x + 3, y + 3)) == 0


def test_labels_of_close_points_do_not_cover_each_other() -> None:
    anchors = [(400.0, 200.0), (403.0, 202.0), (398.0, 197.0)]
    boxes = place(anchors, [(60.0, 15.0)] * 3, [Box(x - 6, y - 6, x + 6, y + 6) for x, y in anchors], _FRAME)
    assert all(one.overlap(other) == 0 for one in boxes for other in boxes if one is not other)
