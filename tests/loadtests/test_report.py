import dataclasses
import json
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from loadtests import report
from loadtests.assembly import run_of
from loadtests.budgets import Slo
from loadtests.claims import Claim, Claims
from loadtests.plan import Outcome
from loadtests.pressure import Pressure
from loadtests.run import Judged, Request
from loadtests.slo import Verdict, judge, verdict
from loadtests.tally import Tally
from optimizer.artifact.signature import Signature, TensorSpec
from service.client.figures import Metric

_AT = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
_ROWS = 250
_SIGNATURE = Signature(
    inputs=(TensorSpec(name="x", datatype="FP32", shape=("batch", 4)),),
    outputs=(TensorSpec(name="y", datatype="FP32", shape=("batch", 2)),),
)


def judged(wrong: int = 0, answer: bool = True) -> Judged:
    """Two variants on 250 rows; r1.int8 gives so many wrong answers that it did not give when it was measured."""
    rows = np.arange(_ROWS)
    metric = Metric("accuracy", 1.0, 0.985, 1.0, _ROWS)
    arms = tuple(
        Claim(name, 0.5, metric, p50_ms, rows, np.zeros(_ROWS, np.int64))
        for name, p50_ms in (("r1.fp32", 4.0), ("r1.int8", 1.0))
    )
    claims = Claims("digits", 7, arms, rows, np.zeros(_ROWS, np.int64), _SIGNATURE)
    tally = Tally()
    for row in range(_ROWS if answer else 0):
        tally.reply(f"user-{row % 40}", "r1.fp32", row, 0, 12.0, row / 100)
        tally.reply(f"user-{40 + row % 40}", "r1.int8", row, int(row < wrong), 6.0, row / 100)
    locust = {"r1.fp32": {"count": 250.0}, "r1.int8": {"count": 250.0}}
    outcome = Outcome(tally, Pressure(1.0, 2.0, 0.3, 0.4), 2.5, 400.0, 200.0, 0.27, locust)
    run = run_of(claims, outcome, {"r1.int8": {"p50": 0.51, "p95": 0.7, "p99": 0.9}}, "", False)
    slo = Slo()
    checks = tuple(judge(run, slo))
    request = Request("127.0.0.1:8001", "digits", Path("eval.npz"), 2.5, 80, slo)
    return Judged(request, claims, outcome, run, checks, verdict(checks))


class Page(HTMLParser):
    """Collects text, links and scripts."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.addresses: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def page(of: Judged) -> Page:
    made = Page()
    made.feed(report.to_html(of, _AT))
    return made


def test_json_holds_every_field_that_readers_rely_on() -> None:
    value = json.loads(json.dumps(report.to_json(judged(), _AT)))
    assert set(value) == {
        "schema_version", "at", "model", "server", "generation", "verdict", "seconds", "arrivals", "rate_per_second",
        "capacity_per_second", "calls", "errors", "error_examples", "generator", "variants", "checks", "locust",
    }  # fmt: skip
    assert (value["schema_version"], value["verdict"], value["generation"]) == (1, "PASS", 7)
    assert value["at"] == "2026-03-01T12:30:00+00:00"
    assert value["calls"] == 500
    assert set(value["generator"]) == {
        "dispatch_lag_p99_ms", "wake_lag_p99_ms", "cpu_share", "eight_overlapping_calls_seconds"
    }  # fmt: skip
    assert {frozenset(check) for check in value["checks"]} == {
        frozenset({"subject", "name", "result", "seen", "demanded"})
    }


def test_json_holds_each_variants_figures() -> None:
    fp32, int8 = report.to_json(judged(wrong=50), _AT)["variants"]
    assert set(fp32) == set(int8) == {
        "name", "weight", "answers", "rows", "accuracy", "claimed", "same_answers", "latency_ms",
        "compiled_latency_ms", "measured_p50_ms", "ok",
    }  # fmt: skip
    assert (fp32["name"], fp32["accuracy"]["value"], fp32["ok"]) == ("r1.fp32", 1.0, True)
    assert (int8["name"], int8["accuracy"]["value"], int8["ok"]) == ("r1.int8", 0.8, False)
    assert int8["accuracy"]["low"] < 0.8 < int8["accuracy"]["high"]
    assert int8["same_answers"] == 200
    assert fp32["latency_ms"]["p50"] == pytest.approx(12.0, rel=0.005)
    assert fp32["compiled_latency_ms"] is None
    assert int8["compiled_latency_ms"]["p99"] == 0.9
    assert (fp32["measured_p50_ms"], int8["measured_p50_ms"]) == (4.0, 1.0)


def test_a_row_answered_differently_at_times_counts_in_parts() -> None:
    one = judged()
    seen = dataclasses.replace(one.run.variants[0], right=249.5)
    torn = dataclasses.replace(one, run=dataclasses.replace(one.run, variants=(seen, one.run.variants[1])))
    assert report.to_json(torn, _AT)["variants"][0]["accuracy"]["value"] == 249.5 / 250


def test_json_of_a_run_without_answers_says_so() -> None:
    value = json.loads(json.dumps(report.to_json(judged(answer=False), _AT), allow_nan=False))
    assert value["verdict"] == "INVALID"
    assert [variant["accuracy"] for variant in value["variants"]] == [None, None]


def test_text_is_a_table_with_the_verdict_first() -> None:
    lines = report.to_text(judged(wrong=50)).splitlines()
    assert lines[0] == "FAIL: a demand is not met"
    header = next(line for line in lines if line.startswith("variant"))
    assert header.split() == ["variant", "weight", "answers", "accuracy", "claimed", "p50", "p95", "p99"]
    row = next(line for line in lines if line.startswith("r1.int8 "))
    assert row.split()[:4] == ["r1.int8", "50%", "250", "0.8000"]
    assert row.index("50%") == header.index("weight")
    assert any(line.startswith("r1.int8: accuracy") and " fail " in line for line in lines)
    assert any(line.startswith("r1.fp32: accuracy") and " pass " in line for line in lines)
    assert all(line == line.rstrip() for line in lines)


def test_text_of_a_run_without_answers_has_dashes() -> None:
    row = next(line for line in report.to_text(judged(answer=False)).splitlines() if line.startswith("r1.fp32 "))
    assert row.split() == ["r1.fp32", "50%", "0", "-", "1.0000", "-", "-", "-"]


@pytest.mark.parametrize(("wrong", "expected"), [(0, Verdict.PASS), (50, Verdict.FAIL)])
def test_the_page_holds_verdict_variants_and_checks(wrong: int, expected: Verdict) -> None:
    one = judged(wrong)
    found = page(one)
    assert f"digits under load: {expected}" in found.text
    for text in ("r1.fp32", "r1.int8", "0.51 / 0.90", "2026-03-01 12:30:00 UTC", "generation 7"):
        assert text in found.text
    for check in one.checks:
        assert check.seen in found.text
    assert "svg" in found.tags


def test_the_page_needs_nothing_from_elsewhere() -> None:
    found = page(judged())
    assert "script" not in found.tags
    assert all(address.startswith("#") for address in found.addresses)


def test_the_page_of_a_run_without_answers_has_no_plot() -> None:
    found = page(judged(answer=False))
    assert "svg" not in found.tags
    assert "something that was demanded could not be judged" in found.text


def test_names_from_a_server_are_text_on_the_page() -> None:
    one = judged()
    hostile = Judged(
        Request("<b>:1", "<i>", Path("x"), 1, 1, Slo()), one.claims, one.outcome, one.run, one.checks, one.verdict
    )
    html = report.to_html(hostile, _AT)
    assert "<i>" not in html
    assert "<b>" not in html
    assert "<script" not in html


def test_the_timeline_has_a_line_a_second() -> None:
    found = report.timeline(judged())
    assert [second for second, _ in found] == [0, 1, 2]
    count, p50_ms, p99_ms = found[0][1]["r1.int8"]
    assert count == 100
    assert p50_ms == p99_ms == pytest.approx(6.0, rel=0.005)


def test_both_files_are_written(tmp_path: Path) -> None:
    json_path, html_path = report.write(judged(), tmp_path / "new" / "report", _AT)
    assert json_path == tmp_path / "new" / "report" / "loadtest.json"
    assert json.loads(json_path.read_text()) == json.loads(json.dumps(report.to_json(judged(), _AT)))
    assert html_path.read_text() == report.to_html(judged(), _AT)
