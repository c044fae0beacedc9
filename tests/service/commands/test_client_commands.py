import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from typer.testing import Result

from service.client.fake.server import FakeServer

Run = Callable[..., Result]


def parsed(result: Result) -> Any:
    """What --json printed: one document on stdout and nothing else."""
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_push_says_what_was_made_and_what_comes_next(run: Run, checkpoint: Path, data: Path) -> None:
    result = run("push", "digits", checkpoint, "--data", data)
    assert result.exit_code == 0
    assert "digits r1: onnx checkpoint, 1 file, 4\u00a0kB" in result.stdout
    assert "data: 1,000 rows; task: classification" in result.stdout
    assert "stillroom optimize digits --wait" in result.stdout
    assert "net.onnx: 4\u00a0kB" in result.stderr


def test_push_json(run: Run, checkpoint: Path, data: Path) -> None:
    found = parsed(run("push", "digits", checkpoint, "--data", f"train={data}", "--data", f"eval={data}", "--json"))
    assert set(found) == {"model", "task", "checkpoint", "dataset", "left_out"}
    assert set(found["checkpoint"]) == {"revision", "format", "digest", "files", "created_at"}
    assert found["dataset"]["rows"] == {"train": 1000, "eval": 1000}


def test_push_without_data_says_what_is_missing(run: Run, checkpoint: Path) -> None:
    result = run("push", "digits", checkpoint)
    assert "no data yet" in result.stdout
    assert parsed(run("push", "digits", checkpoint, "--json"))["dataset"] is None


def test_optimize_returns_at_once_or_waits(run: Run, server: FakeServer, checkpoint: Path, data: Path) -> None:
    run("push", "digits", checkpoint, "--data", data)
    at_once = run("optimize", "digits", "--auto")
    assert "jobs --watch job1" in at_once.stdout
    waited = run("optimize", "digits", "--wait", "--budget", "5m", "--max-accuracy-drop", "0.02", "--seed", "3")
    assert waited.exit_code == 0
    assert "r1.int8" in waited.stdout
    assert "fp32: export" in waited.stderr
    request = server.state.optimizations[-1]
    assert (request.budget_seconds, request.max_accuracy_drop, request.seed) == (300, 0.02, 3)
    assert (request.prefer, request.HasField("max_p95_ms"), request.HasField("max_size_bytes")) == ("", False, False)
    run("optimize", "digits", "--max-latency", "5ms", "--max-size", "10MB", "--prefer", "accuracy")
    request = server.state.optimizations[-1]
    assert (request.prefer, request.max_p95_ms, request.max_size_bytes) == ("accuracy", 5, 10_000_000)


def test_optimize_sends_recipes_in_order(run: Run, server: FakeServer, published: str, tmp_path: Path) -> None:
    paths = [tmp_path / "b.yaml", tmp_path / "a.yaml"]
    for path in paths:
        path.write_text(f"name: {path.stem}")
    found = parsed(run("optimize", published, "--recipe", paths[0], "--recipe", paths[1], "--json"))
    assert set(found) == {
        "job_id", "model", "checkpoint", "state", "error", "trials", "created_at", "started_at", "ended_at", "sandbox",
        "attempts",
    }  # fmt: skip
    assert set(found["trials"][0]) == {"ordinal", "recipe", "state", "variant", "reason", "why"}
    assert list(server.state.optimizations[-1].recipes_yaml) == ["name: b", "name: a"]


def test_a_plan_says_what_the_rows_can_tell_and_starts_nothing(run: Run, server: FakeServer, published: str) -> None:
    before = len(parsed(run("jobs", "--json")))
    told = run("optimize", published, "--plan").stdout
    for expected in (
        "export, quantize_static",
        "15\u00a0s",
        "Nothing was started",
        "resolve about 2.5 points",
        "1,900",
    ):
        assert expected in told, told
    assert parsed(run("optimize", published, "--plan", "--json"))["trials"][0]["recipe"] == "int8"
    assert len(parsed(run("jobs", "--json"))) == before
    assert run("optimize", published, "--plan", "--wait").exit_code == 2


def test_failed_job_exits_with_one_and_says_why(run: Run, published: str, tmp_path: Path) -> None:
    (tmp_path / "bad.yaml").write_text("name: fail")
    result = run("optimize", published, "--recipe", tmp_path / "bad.yaml", "--wait")
    assert result.exit_code == 1
    assert "failed: the source could not be exported" in result.stderr
    assert run("optimize", published, "--recipe", tmp_path / "bad.yaml").exit_code == 0


def test_variants_table_shows_verdicts_front_and_reasons(run: Run, published: str) -> None:
    result = run("variants", published)
    assert result.exit_code == 0
    lines = {name: line for line in result.stdout.splitlines() if (name := _first_variant(line))}
    assert "◆" in lines["r1.int8"]
    assert "accepted" in lines["r1.int8"]
    assert "3.64×" in lines["r1.int8"]
    assert "0.957 [0.944,\u00a00.969]" in lines["r1.int8"]
    assert "100\u00a0%" in lines["r1.fp32"]
    assert "r1.pruned rejected: accuracy falls" in result.stdout
    assert "r1.half inconclusive: 1000 evaluation rows" in result.stdout


def _first_variant(line: str) -> str | None:
    found = re.match(r" *◆? +(r1\.\w+) +(source|accepted|rejected|inconclusive) ", line)
    return found[1] if found else None


def test_variants_are_shown_beside_the_revision_before(run: Run, published: str, server: Any) -> None:
    variant = server.state.variants[published][1]
    variant.against.variant = "r0.int8"
    variant.against.metric.CopyFrom(variant.metric)
    variant.against.difference.CopyFrom(variant.difference)
    assert "r1.int8 vs r0.int8: -0.002 [" in run("variants", published).stdout.replace("−", "-")
    source, small, *_ = parsed(run("variants", published, "--json"))
    assert source["against"] is None
    assert small["against"] == {"variant": "r0.int8", "metric": small["metric"], "difference": small["difference"]}


def test_variants_json_keeps_its_schema(run: Run, published: str) -> None:
    found = parsed(run("variants", published, "--json"))
    assert [variant["name"] for variant in found] == ["r1.fp32", "r1.int8", "r1.pruned", "r1.half"]
    for variant in found:
        assert set(variant) == {
            "name", "model", "checkpoint", "parent", "recipe", "state", "accepted", "verdict", "reason", "metric",
            "source_metric", "difference", "against", "latency_ms", "speedup", "size_bytes", "peak_memory_bytes",
            "target", "traffic", "digest", "files", "created_at",
        }  # fmt: skip
        assert set(variant["metric"]) == {"name", "value", "low", "high", "n"}
        assert set(variant["latency_ms"]) == {"1", "8", "32"}
        assert set(variant["latency_ms"]["1"]) == {"p50", "p95", "p99"}
    source, accepted, rejected, _ = found
    assert (source["parent"], source["accepted"], source["verdict"], source["traffic"]) == (None, True, "source", 1.0)
    assert source["speedup"]["1"] is None
    assert set(accepted["speedup"]["1"]) == {"value", "low", "high"}
    assert (accepted["state"], accepted["verdict"]) == ("ready", "accept")
    assert (rejected["state"], rejected["accepted"], rejected["verdict"]) == ("stored", False, "reject")


def test_unmeasured_figures_are_null_and_dashes(run: Run, server: FakeServer, published: str) -> None:
    variant = server.state.variants[published][1]
    variant.ClearField("metric")
    variant.ClearField("latencies")
    variant.metric.Clear()
    variant.ClearField("metric")
    found = parsed(run("variants", published, "--json"))[1]
    assert (found["metric"], found["latency_ms"], found["speedup"]) == (None, {}, {})
    assert run("variants", published).exit_code == 0


def test_numbers_that_json_has_not_are_null(run: Run, server: FakeServer, published: str) -> None:
    server.state.variants[published][1].metric.value = float("nan")
    assert parsed(run("variants", published, "--json"))[1]["metric"]["value"] is None


def test_jobs_are_listed_watched_and_cancelled(run: Run, server: FakeServer, published: str) -> None:
    assert "job1" in run("jobs").stdout
    assert [job["job_id"] for job in parsed(run("jobs", published, "--json"))] == ["job1"]
    assert parsed(run("jobs", "other", "--json")) == []
    assert "no jobs" in run("jobs", "other").stdout
    watched = run("jobs", "--watch", "job1")
    assert watched.exit_code == 0
    assert "published" in watched.stdout
    assert "100%" in watched.stderr
    server.state.jobs["job1"].state = 2
    assert parsed(run("jobs", "--cancel", "job1", "--json"))["state"] == "cancelled"
    assert run("jobs", "--watch", "job1").exit_code == 1


def test_watch_json_is_an_event_a_line(run: Run, published: str) -> None:
    result = run("jobs", "--watch", "job1", "--json")
    events = [json.loads(line) for line in result.stdout.splitlines()]
    assert [event["sequence"] for event in events] == [1, 2, 3, 4]
    assert set(events[0]) == {
        "sequence", "time", "kind", "trial", "step", "percent", "loss", "eta_seconds", "message", "job_state"
    }  # fmt: skip


def test_pull_writes_the_files(run: Run, published: str, tmp_path: Path) -> None:
    result = run("pull", published, "r1.int8", tmp_path / "out")
    assert result.exit_code == 0
    assert str(tmp_path / "out" / "model.onnx") in result.stdout
    found = parsed(run("pull", published, "r1.int8", tmp_path / "again", "--json"))
    assert set(found) == {"model", "variant", "files"}
    assert run("pull", published, "r1.int8", tmp_path / "out").exit_code == 1


def test_damaged_pull_is_said(run: Run, server: FakeServer, published: str, tmp_path: Path) -> None:
    server.state.faults.damage_download = True
    result = run("pull", published, "r1.int8", tmp_path / "out")
    assert result.exit_code == 1
    assert "arrived damaged" in result.stderr


def test_split_is_shown_and_changed(run: Run, server: FakeServer, published: str) -> None:
    assert "r1.fp32" in run("split", published).stdout
    changed = run("split", published, "r1.fp32=50", "r1.int8=50", "--reason", "try it")
    assert changed.exit_code == 0
    assert "generation 2 of digits: applied" in changed.stdout
    found = parsed(run("split", published, "--json"))
    assert set(found) == {"model", "generation", "applied_generation", "applied", "arms", "warnings"}
    assert found["arms"] == [{"variant": "r1.fp32", "weight": 50}, {"variant": "r1.int8", "weight": 50}]
    assert "warning: r1.pruned was not accepted" in run("split", published, "r1.pruned=100").stderr
    server.state.engines_apply = False
    assert run("split", published, "r1.fp32=100").exit_code == 1


def test_infer_shows_the_answers_beside_the_labels(run: Run, published: str, data: Path) -> None:
    result = run("infer", published, "--data", data, "--rows", "1:3", "--key", "ann")
    assert result.exit_code == 0, result.output
    assert "class 3 (14)" in result.stdout
    assert "r1.fp32" in result.stdout
    assert "1 request," in result.stdout


def test_infer_json(run: Run, server: FakeServer, published: str, data: Path) -> None:
    found = parsed(run("infer", published, "--data", data, "--rows", "2:4", "--version", "r1.int8", "--json"))
    assert set(found) == {"model", "labels", "answers"}
    answer = found["answers"][0]
    assert set(answer) == {"version", "rows", "elapsed_ms", "parameters", "outputs"}
    assert (answer["version"], answer["rows"], found["labels"]) == ("r1.int8", [2, 4], [3, 3])
    assert answer["outputs"]["logits"] == {
        "datatype": "FP32",
        "shape": [2, 4],
        "data": [[16, 18, 20, 22], [24, 26, 28, 30]],
    }


def test_report_is_written(run: Run, published: str, tmp_path: Path) -> None:
    page, plot = tmp_path / "deep" / "index.html", tmp_path / "pareto.svg"
    result = run("report", published, "--out", page, "--plot", plot)
    assert result.exit_code == 0, result.output
    assert plot.read_text() in page.read_text()
    assert plot.read_text().startswith("<svg")
    found = parsed(run("report", published, "--out", tmp_path / "again.html", "--json"))
    assert found == {"model": "digits", "path": str(tmp_path / "again.html"), "variants": 4}


def test_version_names_both_sides(run: Run) -> None:
    assert "stillroom 0.0.0, ready" in run("version").stdout
    assert set(parsed(run("version", "--json"))) == {"version", "server"}
    assert parsed(run("version", "--server", "127.0.0.1:1", "--json"))["server"] is None


def test_push_refuses_a_pickle_before_anything_is_sent(run: Run, server: FakeServer, tmp_path: Path) -> None:
    (tmp_path / "model.pth").write_bytes(b"\x80\x04N.")
    result = run("push", "digits", tmp_path / "model.pth")
    assert result.exit_code == 2
    assert "model.pth looks like a pickle" in result.stderr
    assert "docs/data.md, From a pickle" in result.stderr
    assert run("variants", "digits").exit_code == 1
