from service.report.family import BOX_HEIGHT_PX, BOX_WIDTH_PX, family


def _manifest(*steps: tuple[str, str]) -> dict:
    return {"lineage": {"steps": [{"name": name, "cache_key": key, "config": {"use": name}} for name, key in steps]}}


_VARIANTS = [("r1.fp32", "r1", "source"), ("r1.int8", "r1", "accepted"), ("r1.slim", "r1", "rejected")]
_MANIFESTS = {
    "r1.fp32": _manifest(("export", "a")),
    "r1.int8": _manifest(("export", "a"), ("quantize_static", "b")),
    "r1.slim": _manifest(("prune_structured", "c"), ("export", "d")),
}


def test_a_step_that_two_variants_share_is_one_box():
    tree = family(_VARIANTS, _MANIFESTS)
    assert tree is not None
    labels = [box.label for box in tree.boxes]
    assert sorted(labels) == sorted(
        ["r1", "export", "r1.fp32", "quantize_static", "r1.int8", "prune_structured", "export", "r1.slim"]
    )
    assert len(tree.lines) == len(tree.boxes) - 1
    assert {box.label: box.kind for box in tree.boxes}["r1.slim"] == "rejected"


def test_no_two_boxes_overlap_and_all_lie_in_the_picture():
    tree = family(_VARIANTS, _MANIFESTS)
    assert tree is not None
    for box in tree.boxes:
        assert 0 <= box.x <= tree.width - BOX_WIDTH_PX
        assert 0 <= box.y <= tree.height - BOX_HEIGHT_PX
        for other in tree.boxes:
            if other is not box:
                assert abs(box.x - other.x) >= BOX_WIDTH_PX or abs(box.y - other.y) >= BOX_HEIGHT_PX


def test_two_checkpoints_are_two_trees_and_no_manifest_is_none():
    variants = [*_VARIANTS, ("r2.fp32", "r2", "source")]
    tree = family(variants, _MANIFESTS | {"r2.fp32": _manifest(("export", "z"))})
    assert tree is not None
    assert [box.label for box in tree.boxes if box.kind == "checkpoint"] == ["r1", "r2"]
    assert len(tree.lines) == len(tree.boxes) - 2
    assert family(_VARIANTS, {}) is None
