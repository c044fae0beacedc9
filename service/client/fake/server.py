"""Starts the fake services on a free loopback port."""

from concurrent.futures import ThreadPoolExecutor
from typing import Self

import grpc

from service.client.fake import inference, models, optimizations, traffic, uploads, variants
from service.client.fake.state import State
from service.wire.open_inference.grpc_service_pb2_grpc import add_GRPCInferenceServiceServicer_to_server
from service.wire.stillroom.v1.model_service_pb2_grpc import add_ModelServiceServicer_to_server
from service.wire.stillroom.v1.optimization_service_pb2_grpc import add_OptimizationServiceServicer_to_server
from service.wire.stillroom.v1.traffic_service_pb2_grpc import add_TrafficServiceServicer_to_server
from service.wire.stillroom.v1.upload_service_pb2_grpc import add_UploadServiceServicer_to_server
from service.wire.stillroom.v1.variant_service_pb2_grpc import add_VariantServiceServicer_to_server


class FakeServer:
    """A server with its state in `state`; use it in a `with`. `address` is its host:port."""

    def __init__(self, state: State | None = None) -> None:
        self.state = state or State()
        self.inference = inference.Inference(self.state)
        self._server = grpc.server(ThreadPoolExecutor(max_workers=8, thread_name_prefix="fake-server"))
        add_UploadServiceServicer_to_server(uploads.Uploads(self.state), self._server)
        add_ModelServiceServicer_to_server(models.Models(self.state), self._server)
        add_OptimizationServiceServicer_to_server(optimizations.Optimizations(self.state), self._server)
        add_VariantServiceServicer_to_server(variants.Variants(self.state), self._server)
        add_TrafficServiceServicer_to_server(traffic.Traffic(self.state), self._server)
        add_GRPCInferenceServiceServicer_to_server(self.inference, self._server)
        self.address = f"127.0.0.1:{self._server.add_insecure_port('127.0.0.1:0')}"

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Breaks all calls and stops listening, as a killed server does. May be called again."""
        self._server.stop(grace=None).wait()
