"""One ModelInfer call at a time with ready-made bytes: nothing is encoded while the load runs.

In a gevent process `grpc.experimental.gevent.init_gevent()` must have been called before a Caller is made; else every
call blocks all users, and they silently queue up behind each other (`loadtests.selfcheck` proves that they do not).
grpc.aio has no place there: it brings an event loop of its own.
"""

from dataclasses import dataclass
from typing import Any

import grpc

from optimizer.metrics.answers import predicted_classes, shaped
from service.client.connection import open_channel
from service.client.tensors import from_raw
from service.wire.open_inference import grpc_service_pb2 as oip

METHOD = "/inference.GRPCInferenceService/ModelInfer"


@dataclass(frozen=True)
class Reply:
    """Who answered, and which class it said."""

    variant: str
    predicted: int


class Caller:
    """Sends encoded requests over one connection; may be shared by all users of a process. Close it."""

    def __init__(self, server: str, output: str, deadline_seconds: float) -> None:
        self._output = output
        self._deadline_seconds = deadline_seconds
        self._channel = open_channel(server)
        # No serializers: bytes go out and come in as they are.
        self._call: Any = self._channel.unary_unary(METHOD)

    def call(self, request: bytes) -> bytes:
        """The encoded response. Raises grpc.RpcError."""
        response: bytes = self._call(request, timeout=self._deadline_seconds)
        return response

    def read(self, response: bytes) -> Reply:
        """What a response says. Raises ServiceError or PassFailed for one without the scores of a single row."""
        message = oip.ModelInferResponse.FromString(response)
        position = next((i for i, output in enumerate(message.outputs) if output.name == self._output), 0)
        output = message.outputs[position]
        scores = from_raw(message.raw_output_contents[position], output.datatype, tuple(output.shape))
        return Reply(message.model_version, int(predicted_classes(shaped(scores, 1, "classification"))[0]))

    def close(self) -> None:
        """Ends all calls and lets the connection go."""
        self._channel.close()


def status_of(error: grpc.RpcError) -> tuple[str, str]:
    """Name of the gRPC status and the server's sentence."""
    return error.code().name, error.details() or ""
