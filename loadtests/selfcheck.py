"""Proves, before any load is sent, that calls of simulated users overlap in this process.

gRPC without its gevent support blocks the whole process in each call: users then queue up inside the load generator,
and what looks like the server's latency is the generator's own.
"""

import subprocess
import sys
import time
from typing import Any

import gevent

from loadtests.slow_server import CALLS, EACH_SECONDS, METHOD
from service.client.connection import open_channel

_CALL_TIMEOUT_SECONDS = 30.0


class CallsDoNotOverlap(RuntimeError):
    """The load generator cannot be trusted."""


def overlapped(elapsed_seconds: float, calls: int, each_seconds: float) -> bool:
    """Whether calls that took so long together ran side by side: less than half of what they take in a row."""
    return elapsed_seconds < calls * each_seconds / 2


def check() -> float:
    """Calls a slow server from eight greenlets at once; returns the seconds that took. Raises CallsDoNotOverlap."""
    command = [sys.executable, "-m", "loadtests.slow_server"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            elapsed_seconds = _time_calls(f"127.0.0.1:{int(server.stdout.readline())}")
        finally:
            server.stdin.close()
    if not overlapped(elapsed_seconds, CALLS, EACH_SECONDS):
        raise CallsDoNotOverlap(
            f"{CALLS} calls of {EACH_SECONDS} s took {elapsed_seconds:.2f} s: the simulated users wait for each other "
            "inside the load generator (grpc.experimental.gevent.init_gevent() must run before the first channel)"
        )
    return elapsed_seconds


def _time_calls(server: str) -> float:
    channel = open_channel(server)
    try:
        call: Any = channel.unary_unary(METHOD)
        start = time.perf_counter()
        users = [gevent.spawn(call, b"", timeout=_CALL_TIMEOUT_SECONDS) for _ in range(CALLS)]
        gevent.joinall(users, raise_error=True)
        return time.perf_counter() - start
    finally:
        channel.close()
