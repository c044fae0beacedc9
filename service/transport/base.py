"""The transport port: calls arrive many at a time as raw bytes, and each is answered once, from any thread."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import grpc

Metadata = tuple[tuple[str, str | bytes], ...]

# A status message travels in a header; clients refuse headers above 8 KiB, and percent-encoding triples some bytes.
LONGEST_MESSAGE = 1000


@dataclass(frozen=True)
class FrontOptions:
    """What every adapter is told.

    Listens on `host`:`port` (0: a free port). `methods` are the full paths ("/package.Service/Method") of the unary
    methods that `Front.take_batch` gives; every other call goes to the gRPC server on the Unix socket `fallback`
    (UNIMPLEMENTED when there is none). A request above `max_message_bytes` is answered with RESOURCE_EXHAUSTED.
    """

    methods: tuple[str, ...]
    host: str = "127.0.0.1"
    port: int = 0
    fallback: Path | None = None
    max_message_bytes: int = 2**31 - 1
    io_threads: int = 1

    @property
    def target(self) -> str:
        """host:port, as gRPC writes it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Call(Protocol):
    """One unary call. Any thread may answer; the first answer counts, and later ones do nothing."""

    @property
    def method(self) -> str:
        """Full path, "/inference.GRPCInferenceService/ModelInfer"."""

    @property
    def payload(self) -> bytes:
        """The request message; lives as long as somebody refers to it."""

    @property
    def metadata(self) -> Metadata:
        """The caller's metadata; values of keys that end in "-bin" are bytes."""

    @property
    def deadline_ns(self) -> int | None:
        """When the caller stops waiting, on the monotonic clock; None: never."""

    @property
    def cancelled(self) -> bool:
        """Whether the caller has gone (cancelled, disconnected, or past its deadline)."""

    def reply(self, payload: bytes) -> bool:
        """Answers with a message. False when the call was answered before or the caller has gone."""

    def fail(self, status: grpc.StatusCode, message: str) -> bool:
        """Answers with an error. False when the call was answered before or the caller has gone."""


class Front(Protocol):
    """A listening gRPC server. Calls wait in it, in order of arrival, until they are taken."""

    @property
    def port(self) -> int:
        """The port that it listens on."""

    def start(self) -> None:
        """Begins to accept. Raises FailedPrecondition when the address cannot be had."""

    def take_batch(self, most: int, timeout_seconds: float | None = None) -> Sequence[Call] | None:
        """Waits for something to happen, then returns all calls that are waiting, up to `most`; None once closed.

        The list is empty when the timeout passed, or when all that happened was a cancellation or a refusal. Keep
        taking: cancellations are noticed here. For one thread.
        """

    def close(self) -> None:
        """Stops listening; answers that were given still leave, what is unanswered ends. May be called twice."""


def too_large(size_bytes: int, limit_bytes: int) -> str:
    """The sentence for a message above the limit."""
    return f"the message has {size_bytes} bytes; this server takes {limit_bytes} at most (max_message_bytes)"


def shorten(message: str) -> str:
    """The message, cut to what fits in a header."""
    return message if len(message) <= LONGEST_MESSAGE else message[: LONGEST_MESSAGE - 1] + "…"
