"""The whole load test against a server that answers from known labels; Locust runs in a process of its own."""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gevent import monkey

from loadtests import __main__ as command
from loadtests.plan import PLAN_FILE, SAMPLES_FILE, Outcome, Plan
from loadtests.run import Judged
from loadtests.slo import Result, Verdict
from loadtests.traffic import build
from optimizer.artifact import dataset
from optimizer.artifact.signature import TensorSpec

# This test is about answers and users: a busy machine must not decide it.
_PATIENT = """
latency = {p50_ms = 10000, p95_ms = 10000, p99_ms = 10000}
generator = {max_dispatch_lag_ms = 10000, max_wake_lag_ms = 10000, max_cpu_share = 10}
accuracy = {min_rows = 50}
"""
_FILE = "eval.npz"
_INPUTS = [TensorSpec(name="x", datatype="FP32", shape=("batch", 4))]


@dataclasses.dataclass
class Ran:
    """A run of the command."""

    code: int
    judged: Judged
    value: dict[str, Any]
    server: Any


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Ran]:
    """Runs the command against a server and gives what it wrote, and what it judged by."""

    def start(server: Any, rate: int) -> Ran:
        folder = tmp_path_factory.mktemp("load")
        (folder / "slo.toml").write_text(_PATIENT)
        judged: list[Judged] = []
        real = command.run

        def kept(*arguments: Any) -> Judged:
            judged.append(real(*arguments))
            return judged[0]

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(command, "run", kept)
            code = command.main(
                [
                    "run", "--server", server.address, "--model", "digits", "--data", str(server.data),
                    "--duration", "2s", "--rate", str(rate), "--slo", str(folder / "slo.toml"), "--out", str(folder),
                ]
            )  # fmt: skip
        return Ran(code, judged[0], json.loads((folder / "loadtest.json").read_text()), server)

    return start


@pytest.fixture(scope="module")
def honest(load: Callable[..., Ran], serve: Callable[..., Any], arm: Callable[..., Any]) -> Ran:
    """A run against variants that say what they said when they were measured."""
    return load(serve({"r1.fp32": arm(70, every=20), "r1.int8": arm(30, every=10, parent="r1.fp32")}), 250)


def test_honest_variants_pass(honest: Ran) -> None:
    assert honest.code == 0
    assert honest.value["verdict"] == "PASS"
    assert honest.value["errors"] == {}
    assert {check["result"] for check in honest.value["checks"]} == {"pass"}


def test_every_call_is_credited_to_the_variant_that_answered(honest: Ran) -> None:
    assert honest.value["calls"] == len(honest.server.inference.answered)
    for variant in honest.value["variants"]:
        rows = honest.server.rows_answered(variant["name"])
        assert (variant["answers"], variant["rows"]) == (rows.total(), len(rows))
        assert variant["same_answers"] == rows.total()
        assert honest.value["locust"][variant["name"]]["count"] == rows.total()


def test_accuracy_is_that_of_the_rows_that_were_answered(honest: Ran) -> None:
    for variant, every in zip(honest.value["variants"], (20, 10), strict=True):
        rows = honest.server.rows_answered(variant["name"])
        right = sum(row % every != 0 for row in rows)
        assert variant["accuracy"]["value"] == pytest.approx(right / len(rows))
        assert variant["accuracy"]["n"] == len(rows)


def test_users_stick_to_their_side_of_the_split(honest: Ran) -> None:
    found = honest.judged.run
    assert found.torn == 0
    for variant in ("r1.fp32", "r1.int8"):
        assert found.users[variant] == len(honest.server.users_answered(variant))
    assert sum(found.users.values()) > 150
    assert found.users["r1.fp32"] / sum(found.users.values()) == pytest.approx(0.7, abs=0.12)


def test_rows_are_dealt_evenly(honest: Ran) -> None:
    counts = honest.server.rows_answered("r1.fp32") + honest.server.rows_answered("r1.int8")
    times = [counts[row] for row in range(400)]
    assert max(times) - min(times) <= 1


def test_the_rate_is_kept(honest: Ran) -> None:
    """Poisson: 500 calls in two seconds, give or take five standard deviations."""
    assert honest.value["rate_per_second"] == 250
    assert honest.value["capacity_per_second"] is None
    assert honest.value["calls"] == pytest.approx(500, abs=112)


def test_latencies_are_there_and_agree_with_locusts_own(honest: Ran) -> None:
    for variant in honest.value["variants"]:
        ours, theirs = variant["latency_ms"], honest.value["locust"][variant["name"]]
        assert 0 < ours["p50"] <= ours["p95"] <= ours["p99"]
        # Locust rounds to a tenth of a millisecond.
        assert ours["p50"] == pytest.approx(theirs["p50_ms"], rel=0.05, abs=0.2)


def test_the_process_that_judges_stays_as_it_was(honest: Ran) -> None:
    assert not monkey.is_module_patched("socket")


def test_a_variant_that_answers_worse_than_it_claims_fails(
    load: Callable[..., Ran], serve: Callable[..., Any], arm: Callable[..., Any]
) -> None:
    """It errs on a quarter of the rows instead of a twentieth; and some rows are refused whoever answers."""
    arms = {"r1.fp32": arm(50), "r1.int8": arm(50, now=4, parent="r1.fp32")}
    ran = load(serve(arms, refused=frozenset(range(1, 400, 50))), 250)
    assert ran.code == 1
    assert ran.value["verdict"] == "FAIL"
    assert ran.server.inference.refusals > 0
    assert ran.value["errors"] == {"RESOURCE_EXHAUSTED": ran.server.inference.refusals}
    assert ran.value["error_examples"] == {"RESOURCE_EXHAUSTED": "the queue is full"}
    failed = {(check.subject, check.name) for check in ran.judged.checks if check.result is Result.FAIL}
    assert failed == {("all", "errors"), ("r1.int8", "accuracy"), ("r1.int8", "same answers")}
    fp32, int8 = ran.value["variants"]
    assert (fp32["ok"], int8["ok"]) == (True, False)


def test_what_could_not_be_judged_exits_with_3(
    honest: Ran, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "run", lambda *_: dataclasses.replace(honest.judged, verdict=Verdict.INVALID))
    assert command.main(["run", "--model", "digits", "--data", _FILE, "--out", str(tmp_path)]) == 3
    assert capsys.readouterr().out.startswith("INVALID: ")


def test_other_data_is_bad_use(honest: Ran, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / _FILE, x=np.zeros((3, 4), np.float32))
    arguments = ["run", "--server", honest.server.address, "--model", "digits", "--data", str(tmp_path / _FILE)]
    assert command.main(arguments) == 2
    assert "is not the data that model 'digits' was evaluated on" in capsys.readouterr().err


def test_a_wrong_demand_is_bad_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "slo.toml").write_text("[latency]\np50_ms = -1\n")
    arguments = ["run", "--model", "digits", "--data", _FILE, "--slo", str(tmp_path / "slo.toml")]
    assert command.main(arguments) == 2
    assert "latency.p50_ms" in capsys.readouterr().err


def test_nobody_there_could_not_be_run(
    free_port: Callable[[], int], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = f"127.0.0.1:{free_port()}"
    assert command.main(["run", "--server", server, "--model", "digits", "--data", str(tmp_path / _FILE)]) == 4
    assert capsys.readouterr().err.startswith("error: ")


@pytest.mark.parametrize(
    "wrong",
    [
        ["--duration", "0s"],
        ["--duration", "soon"],
        ["--rate", "0"],
        ["--rate", "inf"],
        ["--users", "0"],
        ["--arrivals", "wild"],
    ],
)
def test_wrong_options_are_bad_use(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        command.main(["run", "--model", "digits", "--data", _FILE, *wrong])
    assert raised.value.code == 2
    assert wrong[0] in capsys.readouterr().err


@pytest.mark.parametrize(("text", "seconds"), [("20s", 20), ("2m", 120), ("7", 7), ("1.5s", 1.5)])
def test_durations(text: str, seconds: float) -> None:
    assert command.duration(text) == seconds


def generate(spool: Path, server: str, data: Path, **plan: Any) -> subprocess.CompletedProcess[str]:
    """The generator's process alone."""
    (spool / PLAN_FILE).write_text(
        Plan(server=server, output="logits", users=20, capacity_seconds=0.5, **plan).model_dump_json()
    )
    build("digits", dataset.read(data, _FILE), range(400), _INPUTS).save(spool / SAMPLES_FILE)
    command_line = [sys.executable, "-m", "loadtests.generator", str(spool)]
    return subprocess.run(command_line, capture_output=True, text=True, timeout=60)


def test_a_closed_loop_measures_capacity_and_keeps_its_callers_busy(
    serve: Callable[..., Any], arm: Callable[..., Any], tmp_path: Path
) -> None:
    server = serve({"r1.fp32": arm(100)})
    done = generate(tmp_path, server.address, server.data, seconds=0.5, arrivals="closed")
    assert done.returncode == 0, done.stderr
    outcome = Outcome.load(tmp_path)
    assert outcome.rate_per_second is None
    assert outcome.capacity_per_second is not None
    assert outcome.capacity_per_second > 2
    assert outcome.tally.errors == {}
    # Capacity was measured with calls that are not part of the result.
    assert outcome.tally.sent + round(outcome.capacity_per_second * 0.5) == len(server.inference.answered)
    assert outcome.selfcheck_seconds < 1
    assert outcome.pressure.dispatch_lag_p99_ms == 0


def test_a_server_that_is_gone_is_told_in_one_line(
    serve: Callable[..., Any], arm: Callable[..., Any], free_port: Callable[[], int], tmp_path: Path
) -> None:
    data = serve({"r1.fp32": arm(100)}).data
    done = generate(tmp_path, f"127.0.0.1:{free_port()}", data, seconds=0.5)
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[-1].startswith("no call was answered: UNAVAILABLE")
    assert not (tmp_path / "outcome.json").exists()
