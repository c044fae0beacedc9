"""A channel to a server, and the one place where a client's gRPC errors become those of service.errors."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import grpc

from service import errors

_ADDRESS = re.compile(r"(?P<host>\[[0-9A-Fa-f:.%]+\]|[^:/\s\[\]]+):(?P<port>\d{1,5})")

_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # gRPC waits up to two minutes before it tries a lost server again; ours restarts within seconds.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 2000),
    # A proxy meant for the web does not lead to an inference server.
    ("grpc.enable_http_proxy", 0),
)

_BY_STATUS: dict[grpc.StatusCode, type[errors.ServiceError]] = {
    kind.status: kind
    for kind in (
        errors.InvalidArgument,
        errors.NotFound,
        errors.AlreadyExists,
        errors.FailedPrecondition,
        errors.Conflict,
        errors.PermissionDenied,
        errors.ResourceExhausted,
        errors.Unavailable,
        errors.DeadlineExceeded,
        errors.Cancelled,
        errors.Unimplemented,
    )
}

# What gRPC itself says when it could not connect, or lost the server in the middle of a call.
_NOBODY = re.compile(
    r"failed to connect to all addresses|connection refused|DNS resolution failed|name resolution", re.I
)
_LOST = re.compile(
    r"socket closed|stream removed|connection reset|broken pipe|RST_STREAM|GOAWAY|recvmsg|sendmsg|transport", re.I
)


def check_address(server: str) -> str:
    """The address as given. Raises InvalidArgument unless it is host:port with a port from 1 to 65535."""
    found = _ADDRESS.fullmatch(server)
    if found is None or not 1 <= int(found["port"]) <= 65535:
        raise errors.InvalidArgument(
            f"the server's address must be host:port, such as 127.0.0.1:8001, without a scheme; got {server!r}"
        )
    return server


def open_channel(server: str) -> grpc.Channel:
    """A plaintext channel; nothing is sent before the first call. The caller closes it."""
    return grpc.insecure_channel(check_address(server), options=_OPTIONS)


def from_rpc_error(error: grpc.RpcError, server: str) -> errors.ServiceError:
    """The error of service.errors with the server's own sentence; `Unreachable` when there was no server to say one."""
    status = error.code()
    details: str = error.details() or ""
    lost = status in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN)
    if status is grpc.StatusCode.UNAVAILABLE and _NOBODY.search(details):
        return errors.Unreachable(f"no Stillroom server answers at {server}")
    if status is grpc.StatusCode.UNAVAILABLE and details == errors.ControlAway.SENTENCE:
        return errors.ControlAway(details)
    if lost and _LOST.search(details):
        return errors.Unreachable(f"the connection to {server} was lost")
    if status is grpc.StatusCode.DEADLINE_EXCEEDED and details in ("", "Deadline Exceeded"):
        return errors.DeadlineExceeded(f"{server} did not answer in time")
    kind = _BY_STATUS.get(status)
    if kind is None:
        return errors.ServiceError(details or f"{server} failed with {status.name}")
    return kind(details or f"{server} answered {status.name} and did not say why")


@contextmanager
def translated(server: str) -> Iterator[None]:
    """Raises gRPC errors of the block as errors of service.errors."""
    try:
        yield
    except grpc.RpcError as error:
        raise from_rpc_error(error, server) from None
