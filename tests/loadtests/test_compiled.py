import random
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests import compiled
from loadtests.budgets import Compiled
from loadtests.compiled import CompiledClientFailed, check_answered, framed, latencies_ms, quantiles
from loadtests.traffic import address
from service.client import inference


@given(st.binary(max_size=300))
def test_a_framed_message_is_flag_length_and_bytes(message: bytes) -> None:
    wire = framed(message)
    assert wire[0] == 0
    assert int.from_bytes(wire[1:5], "big") == len(message)
    assert wire[5:] == message


def test_quantiles_of_a_log() -> None:
    """One request a line: start, status, duration, both in microseconds; in the order in which they ended."""
    durations = list(range(101))
    random.Random(0).shuffle(durations)
    lines = [f"{1_700_000_000_000_000 + number}\t200\t{1000 * ms}" for number, ms in enumerate(durations)]
    assert quantiles(lines) == {"p50": 50.0, "p95": 95.0, "p99": 99.0}


def test_requests_that_failed_have_no_latency() -> None:
    lines = ["1 200 500", "2 -1 90000", "3 503 10", "4 200 500"]
    assert quantiles(lines) == {"p50": 0.5, "p95": 0.5, "p99": 0.5}


@pytest.mark.parametrize("lines", [[], ["1 503 10"]])
def test_a_log_without_answers_has_no_quantiles(lines: list[str]) -> None:
    with pytest.raises(ValueError, match="no call was answered"):
        quantiles(lines)


@given(st.lists(st.integers(1, 10**7), min_size=1, max_size=200))
def test_quantiles_are_durations_that_were_seen_and_in_order(durations: list[int]) -> None:
    found = quantiles(f"1 200 {duration}" for duration in durations)
    assert found["p50"] <= found["p95"] <= found["p99"] <= max(durations) / 1000
    assert {round(value * 1000) for value in found.values()} <= set(durations)
    assert sum(duration <= round(found["p50"] * 1000) for duration in durations) >= len(durations) / 2


def summary(body_bytes: int) -> str:
    """What h2load prints at the end, as far as it counts bytes."""
    return (
        "status codes: 1 2xx, 0 3xx, 0 4xx, 0 5xx\n"
        f"traffic: 9.99KB (9999) total, 50B (50) headers (space savings 80.00%), {body_bytes}B ({body_bytes}) data\n"
        "                     min         max         mean         sd        +/- sd\n"
    )


def program(path: Path, body: str) -> str:
    """An executable that stands for h2load."""
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    "body",
    [
        "exit 1",
        "exit 0",
        f"echo '{summary(49)}'",
        f"for a; do case $a in --log-file=*) echo words > ${{a#*=}};; esac; done; echo '{summary(49)}'",
    ],
)
def test_a_program_without_figures_is_told(tmp_path: Path, body: str) -> None:
    with pytest.raises(CompiledClientFailed, match="h2load gave no figures"):
        latencies_ms(program(tmp_path / "h2load", body), "127.0.0.1:1", b"", Compiled())


def test_a_program_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(CompiledClientFailed, match="h2load gave no figures"):
        latencies_ms(str(tmp_path / "h2load"), "127.0.0.1:1", b"", Compiled())


def test_the_settings_reach_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []

    def run(command: list[str], **options: Any) -> subprocess.CompletedProcess[str]:
        seen.append(command)
        (log,) = (one.removeprefix("--log-file=") for one in command if one.startswith("--log-file="))
        Path(log).write_text("1 200 700\n")
        return subprocess.CompletedProcess(command, 0, stdout=summary(49))

    monkeypatch.setattr(subprocess, "run", run)
    assert latencies_ms("h2load", "host:1", b"x", Compiled(seconds=1.2, streams=4))["p99"] == 0.7
    assert "--duration=2" in seen[0]
    assert "--max-concurrent-streams=4" in seen[0]
    assert seen[0][-1] == "http://host:1/inference.GRPCInferenceService/ModelInfer"


def test_h2load_times_a_grpc_server(serve: Callable[..., Any], arm: Callable[..., Any]) -> None:
    h2load = compiled.find()
    if h2load is None:
        pytest.skip(compiled.ABSENT)
    server = serve({"r1.fp32": arm(50), "r1.int8": arm(50, parent="r1.fp32")})
    row = np.array([[7, 0, 0, 0]], dtype=np.float32)
    message = inference.request("digits", {"x": row}).SerializeToString() + address(variant="r1.int8")
    found = latencies_ms(h2load, server.address, message, Compiled(seconds=1))
    assert set(server.inference.answered) == {("", 7, "r1.int8")}
    assert 0 < found["p50"] <= found["p95"] <= found["p99"] < 1000
    # One stream: the median cannot be longer than the run divided by half of the calls.
    assert found["p50"] * len(server.inference.answered) / 2 < 2000


def test_a_refused_call_is_no_quick_answer(serve: Callable[..., Any], arm: Callable[..., Any]) -> None:
    """gRPC refuses with HTTP status 200 and an empty body, which h2load takes for a success."""
    h2load = compiled.find()
    if h2load is None:
        pytest.skip(compiled.ABSENT)
    server = serve({"r1.fp32": arm(100)}, refused=frozenset({7}))
    message = inference.request("digits", {"x": np.array([[7, 0, 0, 0]], dtype=np.float32)}).SerializeToString()
    with pytest.raises(CompiledClientFailed, match="the server refuses the call"):
        latencies_ms(h2load, server.address, message, Compiled(seconds=1))


@pytest.mark.parametrize(("body_bytes", "calls"), [(1600, 100), (10**9, 100), (16, 1)])
def test_bytes_enough_for_every_answer(body_bytes: int, calls: int) -> None:
    check_answered(summary(body_bytes), calls)


@pytest.mark.parametrize(("text", "calls"), [(summary(0), 1), (summary(1599), 100), ("", 1), ("finished in 1s\n", 1)])
def test_bytes_too_few_for_answers(text: str, calls: int) -> None:
    with pytest.raises(ValueError, match="the server refuses the call"):
        check_answered(text, calls)
