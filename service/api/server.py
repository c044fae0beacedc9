"""Control's gRPC server on its Unix socket: which services there are, how large a message and how many calls may be."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import grpc
from google.protobuf.descriptor import FileDescriptor
from grpc_health.v1 import health_pb2

from service.api.health import INFERENCE, Health
from service.api.model import ModelServicer
from service.api.optimization import MAX_WATCHERS, OptimizationServicer
from service.api.reflection import add_reflection
from service.api.streamed_inference import add_refusal
from service.api.traffic import TrafficServicer
from service.api.translation import ErrorTranslation
from service.api.upload import MAX_STREAMS, UploadServicer
from service.api.variant import VariantServicer
from service.errors import FailedPrecondition
from service.uploads.receiver import MAX_CHUNK_BYTES
from service.wire.open_inference import grpc_service_pb2
from service.wire.stillroom.v1 import (
    model_service_pb2,
    model_service_pb2_grpc,
    optimization_service_pb2,
    optimization_service_pb2_grpc,
    traffic_service_pb2,
    traffic_service_pb2_grpc,
    upload_service_pb2,
    upload_service_pb2_grpc,
    variant_service_pb2,
    variant_service_pb2_grpc,
)

# Beside the long-lived streams, which are counted where they are opened. A thread is made when it is first needed.
_SHORT_CALLS = 64
_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_CHUNK_BYTES + 2**20),
    ("grpc.max_send_message_length", -1),
)


@dataclass(frozen=True)
class Servicers:
    """One a service."""

    upload: UploadServicer
    model: ModelServicer
    optimization: OptimizationServicer
    variant: VariantServicer
    traffic: TrafficServicer


class ApiServer:
    """Listens at a Unix socket between `start` and `stop`, each called once.

    Who may connect is decided by the mode of the socket's directory.
    """

    def __init__(self, socket: Path, servicers: Servicers) -> None:
        """Raises FailedPrecondition when the socket cannot be had."""
        self._threads = ThreadPoolExecutor(MAX_STREAMS + MAX_WATCHERS + _SHORT_CALLS, "api")
        self._server = grpc.server(self._threads, interceptors=[ErrorTranslation()], options=_OPTIONS)
        self.health = _add_services(self._server, servicers)
        try:
            self._server.add_insecure_port(f"unix:{socket}")
        except RuntimeError as error:
            raise FailedPrecondition(f"cannot listen at {socket}") from error

    def start(self) -> None:
        """Begins to answer."""
        self._server.start()

    def stop(self, grace_seconds: float) -> None:
        """Refuses new calls, gives those that run so long to end, and cancels the rest."""
        self.health.stop()
        self._server.stop(grace_seconds).wait()
        self._threads.shutdown(wait=False)


def _add_services(server: grpc.Server, servicers: Servicers) -> Health:
    upload_service_pb2_grpc.add_UploadServiceServicer_to_server(servicers.upload, server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(servicers.model, server)
    optimization_service_pb2_grpc.add_OptimizationServiceServicer_to_server(servicers.optimization, server)
    variant_service_pb2_grpc.add_VariantServiceServicer_to_server(servicers.variant, server)
    traffic_service_pb2_grpc.add_TrafficServiceServicer_to_server(servicers.traffic, server)
    own = [name for file in _files() for name in _services(file)]
    health = Health(own)
    health.add_to(server)
    add_refusal(server)
    described = [*_files(), health_pb2.DESCRIPTOR, grpc_service_pb2.DESCRIPTOR]
    add_reflection(server, [*own, "grpc.health.v1.Health", INFERENCE], described)
    return health


def _files() -> tuple[FileDescriptor, ...]:
    return (
        upload_service_pb2.DESCRIPTOR,
        model_service_pb2.DESCRIPTOR,
        optimization_service_pb2.DESCRIPTOR,
        variant_service_pb2.DESCRIPTOR,
        traffic_service_pb2.DESCRIPTOR,
    )


def _services(file: FileDescriptor) -> Iterator[str]:
    for service in file.services_by_name.values():
        yield service.full_name
