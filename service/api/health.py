"""grpc.health.v1: whether this host serves, as load balancers and Kubernetes ask it."""

from concurrent.futures import ThreadPoolExecutor

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

INFERENCE = "inference.GRPCInferenceService"


class Health:
    """The server as a whole ("") and inference are SERVING while an engine is connected; control's own always."""

    def __init__(self, own_services: list[str]) -> None:
        # Watchers wait in the servicer's own pool, and so take no thread from anybody.
        self._servicer = health.HealthServicer(
            experimental_non_blocking=True, experimental_thread_pool=ThreadPoolExecutor(1, "health")
        )
        for service in own_services:
            self._servicer.set(service, health_pb2.HealthCheckResponse.SERVING)
        self.set_inference(False)

    def add_to(self, server: grpc.Server) -> None:
        """Serves it."""
        health_pb2_grpc.add_HealthServicer_to_server(self._servicer, server)

    def set_inference(self, serving: bool) -> None:
        """Whether an engine is connected."""
        status = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for service in ("", INFERENCE):
            self._servicer.set(service, status)

    def stop(self) -> None:
        """Tells watchers that everything goes."""
        self._servicer.enter_graceful_shutdown()
