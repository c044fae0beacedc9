"""A server of this very installation on free ports, for the demo and the results."""

import signal
import socket
import subprocess
import time
from pathlib import Path

from loadtests import commands
from loadtests.commands import CommandFailed

_LIVE_SECONDS = 30.0
_STOP_SECONDS = 60.0


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that nobody listens on now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def serve(home: Path, log: Path) -> tuple[subprocess.Popen[bytes], str]:
    """Starts the server on free ports; returns it and its address once it is live."""
    grpc_port, http_port, metrics_port = free_ports(3)
    arguments = ["--home", str(home), "--grpc-port", str(grpc_port)]
    arguments += ["--http-port", str(http_port), "--metrics-port", str(metrics_port)]
    commands.show(["stillroom", "serve", *arguments])
    with log.open("wb") as stream:
        server = subprocess.Popen(commands.stillroom("serve", *arguments), stdout=stream, stderr=stream)
    deadline = time.monotonic() + _LIVE_SECONDS
    while not commands.is_live(f"127.0.0.1:{grpc_port}"):
        if server.poll() is not None or time.monotonic() > deadline:
            server.kill()
            raise CommandFailed(
                f"the server did not start; its log is {log}:\n{log.read_text(errors='replace')[-2000:]}"
            )
        time.sleep(0.05)
    print(f"live; log: {log}, metrics: http://127.0.0.1:{metrics_port}/metrics")
    return server, f"127.0.0.1:{grpc_port}"


def stop(server: subprocess.Popen[bytes]) -> None:
    """Ends the server as an operator does. Raises CommandFailed unless it ends by itself, with 0."""
    server.send_signal(signal.SIGTERM)
    try:
        code = server.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
        raise CommandFailed(f"the server did not stop within {_STOP_SECONDS:.0f} s") from None
    if code:
        raise CommandFailed(f"the server ended with exit code {code}")
    print("The server stopped cleanly.")
