"""The compiled client for budgets that Locust is too slow to judge: h2load (of nghttp2) with one prebuilt message."""

import math
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

from loadtests.budgets import Compiled
from loadtests.client import METHOD

QUANTILES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}
ABSENT = "h2load is absent (Debian: nghttp2-client)"
# Beyond the seconds asked for: connecting, and the last answers.
_GRACE_SECONDS = 30.0
# "traffic: 1.2MB (1234567) total, 23.4KB (23456) headers (space savings 80.1%), 1.1MB (1111111) data"
_BODY_BYTES = re.compile(r"^traffic:.*\((\d+)\) data$", re.MULTILINE)
# A frame's prefix, and of the message at least the names of a model and a variant and one score.
_SMALLEST_ANSWER_BYTES = 16


class CompiledClientFailed(RuntimeError):
    """h2load ended without figures."""


def find() -> str | None:
    """Path of h2load, if it is installed."""
    return shutil.which("h2load")


def framed(message: bytes) -> bytes:
    """A gRPC message on the wire: not compressed, its length, its bytes (gRPC over HTTP/2, Length-Prefixed-Message)."""
    return b"\x00" + len(message).to_bytes(4, "big") + message


def latencies_ms(h2load: str, server: str, message: bytes, settings: Compiled) -> dict[str, float]:
    """Quantile ("p50") to milliseconds for one message sent over and over on one connection.

    The status of a call stands in a trailer that h2load does not read; but a refused call has no body, and that it
    counts. Raises CompiledClientFailed when there are no figures, or not of answers.
    """
    with tempfile.TemporaryDirectory(prefix="stillroom-h2load-") as scratch:
        body, log = Path(scratch, "message"), Path(scratch, "log")
        body.write_bytes(framed(message))
        command = [
            h2load,
            "--clients=1",
            f"--max-concurrent-streams={settings.streams}",
            f"--duration={math.ceil(settings.seconds)}",
            f"--data={body}",
            f"--log-file={log}",
            "--header=content-type: application/grpc",
            "--header=te: trailers",
            f"http://{server}{METHOD}",
        ]
        try:
            seconds = settings.seconds + _GRACE_SECONDS
            summary = subprocess.run(command, capture_output=True, check=True, timeout=seconds, text=True).stdout
            lines = log.read_text().splitlines()
            check_answered(summary, len(lines))
            return quantiles(lines)
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            raise CompiledClientFailed(f"h2load gave no figures: {error}") from error


def check_answered(summary: str, calls: int) -> None:
    """Raises ValueError when h2load's summary counts fewer body bytes than that many answers have at the very least."""
    found = _BODY_BYTES.search(summary)
    if found is None or int(found[1]) < calls * _SMALLEST_ANSWER_BYTES:
        raise ValueError("the server refuses the call")


def quantiles(lines: Iterable[str]) -> dict[str, float]:
    """Quantiles of h2load's log, a line a request: start in microseconds, HTTP status, duration in microseconds.

    Raises ValueError when no request succeeded.
    """
    fields = [line.split() for line in lines]
    durations_us = sorted(int(duration) for _, status, duration in fields if status == "200")
    if not durations_us:
        raise ValueError("no call was answered")
    last = len(durations_us) - 1
    return {name: durations_us[min(last, math.ceil(share * last))] / 1000 for name, share in QUANTILES.items()}
