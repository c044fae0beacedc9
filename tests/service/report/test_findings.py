from service.report.findings import findings


def _manifest(**table: object) -> dict:
    return {"lineage": {"steps": [{"name": "quantize_static", "tables": [table]}]}}


def test_a_sensitivity_is_drawn_worst_first():
    rows = [["conv1", "Conv", 0.01, False], ["conv2", "Conv", 0.04, True], ["fc", "Gemm", 0.0, False]]
    (found,) = findings(
        _manifest(kind="sensitivity", title="by node", columns=["node", "operator", "error", "in float"], rows=rows)
    )
    assert [(bar.name, bar.share) for bar in found.bars] == [("conv2", 1.0), ("conv1", 0.25), ("fc", 0.0)]
    assert found.bars[0].rest == "operator Conv, in float yes"
    assert (found.measure, found.rows, found.left_out) == ("error", (), 0)


def test_other_tables_stay_tables_and_long_ones_are_cut():
    rows = [[index, index / 3, None, True] for index in range(100)]
    (found,) = findings(_manifest(kind="search", title="study", columns=["trial", "value", "why", "good"], rows=rows))
    assert found.bars == ()
    assert found.rows[1] == ("1", "0.3333", "–", "yes")
    assert (len(found.rows), found.left_out) == (60, 40)


def test_a_sensitivity_without_numbers_is_a_table():
    (found,) = findings(_manifest(kind="sensitivity", title="t", columns=["a", "b"], rows=[["x", "y"]]))
    assert (found.bars, found.rows) == ((), (("x", "y"),))
    assert findings({}) == ()
