"""Finds out before anything starts whether the ports that are wanted can be had."""

import errno
import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from service.errors import FailedPrecondition

# A server that was killed a moment ago still holds its ports for as long as the kernel takes to bury it.
PATIENCE_SECONDS = 2.0


@dataclass(frozen=True)
class WantedPort:
    """A port, and the words with which a message speaks of it."""

    name: str
    option: str
    host: str
    # 0: any.
    port: int


def choose_ports(
    wanted: Iterable[WantedPort],
    patience_seconds: float = PATIENCE_SECONDS,
    pause: Callable[[float], None] = time.sleep,
) -> list[int]:
    """The ports in the order of `wanted`, each free just now, 0 replaced by one that is.

    A listener that allows others beside it (SO_REUSEPORT) counts as taken too: it would get part of our requests.
    Raises FailedPrecondition naming the port and the option that chooses another.
    """
    held: list[socket.socket] = []
    try:
        for port in wanted:
            held.append(_bound(port, time.monotonic() + patience_seconds, pause))
        return [int(holder.getsockname()[1]) for holder in held]
    finally:
        for holder in held:
            holder.close()


def is_answering(host: str, port: int) -> bool:
    """Whether somebody accepts connections there."""
    try:
        with socket.create_connection((reachable(host), port), timeout=0.5):
            return True
    except OSError:
        return False


def reachable(host: str) -> str:
    """An address of this machine by which a server bound to `host` can be reached from it."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  # compared with, not bound to


def authority(host: str, port: int) -> str:
    """host:port as URLs and gRPC write it."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _bound(port: WantedPort, deadline: float, pause: Callable[[float], None]) -> socket.socket:
    while True:
        probe = socket.socket(socket.AF_INET6 if ":" in port.host else socket.AF_INET, socket.SOCK_STREAM)
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((port.host, port.port))
        except OSError as error:
            probe.close()
            if error.errno != errno.EADDRINUSE:
                raise FailedPrecondition(
                    f"cannot listen on {authority(port.host, port.port)} ({port.name}): {error.strerror}"
                ) from error
            if time.monotonic() > deadline:
                raise FailedPrecondition(
                    f"port {port.port} on {port.host} ({port.name}) is taken; choose another with {port.option}"
                ) from error
            pause(0.05)
        else:
            return probe
