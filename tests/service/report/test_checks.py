"""What a page says of a manifest's comparisons."""

from service.report.checks import checks

_FIGURE = {"name": "accuracy difference", "value": -0.012, "low": -0.03, "high": 0.005, "n": 500}


def test_a_revision_is_compared_in_a_sentence() -> None:
    measurement = {"against": {"name": "r1.int8", "metric": _FIGURE, "difference": _FIGURE}}
    assert (
        checks({"measurements": [measurement]}).against == "Against r1.int8 on the same rows: −0.012 (−0.030 to +0.005)"
    )


def test_a_manifest_without_comparisons_says_nothing() -> None:
    assert checks({}).against == checks({"measurements": [{}]}).against == ""
