"""Everything but inference that the protocol asks of a server: liveness, metadata, configuration, index, statistics."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from google.protobuf.message import DecodeError, Message
from grpc_health.v1 import health_pb2

from optimizer.artifact.signature import TensorSpec
from service.errors import InvalidArgument, NotFound, Unavailable, Unimplemented
from service.inference.intake import Answer
from service.inference.served import Served
from service.inference.statistics import statistics_of
from service.models.servable import Servable, State
from service.routing.router import Route, Router
from service.types import DEFAULT_TENANT
from service.wire.open_inference import grpc_service_pb2 as wire
from service.wire.open_inference import model_config_pb2 as config_wire

SERVICE = "inference.GRPCInferenceService"
_PLATFORM = "onnxruntime_onnx"
_BACKEND = "onnxruntime"
# Extensions of the protocol that any client may rely on. ModelStatistics is served but not promised: perf_analyzer
# takes the promise to mean that versions are integers, and ends itself when it reads a variant's name there.
EXTENSIONS = ("model_configuration", "parameters")

_NO_REPOSITORY = "models are loaded and unloaded by publishing variants and setting traffic, not by this call"
_NO_SHARED_MEMORY = "shared memory is not offered by this server: send tensors in the message"
_UNIMPLEMENTED = {
    "RepositoryModelLoad": _NO_REPOSITORY,
    "RepositoryModelUnload": _NO_REPOSITORY,
    "SystemSharedMemoryStatus": _NO_SHARED_MEMORY,
    "SystemSharedMemoryRegister": _NO_SHARED_MEMORY,
    "SystemSharedMemoryUnregister": _NO_SHARED_MEMORY,
    "CudaSharedMemoryStatus": _NO_SHARED_MEMORY,
    "CudaSharedMemoryRegister": _NO_SHARED_MEMORY,
    "CudaSharedMemoryUnregister": _NO_SHARED_MEMORY,
    "TraceSetting": "this server has no trace settings",
    "LogSettings": "this server's log settings cannot be changed while it runs",
}
_INDEX_STATE = {
    State.NEW: "LOADING",
    State.LOADING: "LOADING",
    State.READY: "READY",
    State.DRAINING: "UNLOADING",
    State.UNLOADED: "UNAVAILABLE",
    State.FAILED: "UNAVAILABLE",
}

Request = TypeVar("Request", bound=Message)


class Catalogue:
    """Answers from the routes and the servables; for the intake's thread."""

    def __init__(
        self,
        version: str,
        router: Router[Served],
        servables: Callable[[], Iterable[Servable]],
        ready: Callable[[], bool],
        queue_capacity: int,
        queue_delay_us: int,
    ) -> None:
        self._version = version
        self._router = router
        self._servables = servables
        self._ready = ready
        self._queue_capacity = queue_capacity
        self._queue_delay_us = queue_delay_us

    def answers(self) -> dict[str, Answer]:
        """The functions of the intake, by full path of their methods."""
        own: dict[str, Answer] = {
            "ServerLive": _unary(wire.ServerLiveRequest, lambda _: wire.ServerLiveResponse(live=True)),
            "ServerReady": _unary(wire.ServerReadyRequest, lambda _: wire.ServerReadyResponse(ready=self._ready())),
            "ServerMetadata": _unary(wire.ServerMetadataRequest, self._server_metadata),
            "ModelReady": _unary(wire.ModelReadyRequest, self._model_ready),
            "ModelMetadata": _unary(wire.ModelMetadataRequest, self._model_metadata),
            "ModelConfig": _unary(wire.ModelConfigRequest, self._model_config),
            "ModelStatistics": _unary(wire.ModelStatisticsRequest, self._model_statistics),
            "RepositoryIndex": _unary(wire.RepositoryIndexRequest, self._repository_index),
        }
        answers = {f"/{SERVICE}/{name}": answer for name, answer in own.items()}
        answers |= {f"/{SERVICE}/{name}": _refuse(sentence) for name, sentence in _UNIMPLEMENTED.items()}
        answers["/grpc.health.v1.Health/Check"] = _unary(health_pb2.HealthCheckRequest, self._health)
        # The health protocol has clients take UNIMPLEMENTED here for "healthy, ask with Check".
        answers["/grpc.health.v1.Health/Watch"] = _refuse("health is answered by Check, not by Watch")
        return answers

    def _server_metadata(self, request: wire.ServerMetadataRequest) -> wire.ServerMetadataResponse:
        del request
        return wire.ServerMetadataResponse(name="stillroom", version=self._version, extensions=EXTENSIONS)

    def _model_ready(self, request: wire.ModelReadyRequest) -> wire.ModelReadyResponse:
        return wire.ModelReadyResponse(ready=self._is_ready(request.name, request.version))

    def _is_ready(self, model: str, version: str) -> bool:
        try:
            route = self._router.route(DEFAULT_TENANT, model)
        except NotFound:
            return False
        return version in route.ready if version else route.split is not None

    def _model_metadata(self, request: wire.ModelMetadataRequest) -> wire.ModelMetadataResponse:
        route, served = self._find(request.name, request.version)
        signature = served.servable.description.signature
        metadata = wire.ModelMetadataResponse.TensorMetadata
        return wire.ModelMetadataResponse(
            name=request.name,
            versions=list(route.ready),
            platform=_PLATFORM,
            inputs=[metadata(name=t.name, datatype=t.datatype, shape=t.wire_shape) for t in signature.inputs],
            outputs=[metadata(name=t.name, datatype=t.datatype, shape=t.wire_shape) for t in signature.outputs],
        )

    def _model_config(self, request: wire.ModelConfigRequest) -> wire.ModelConfigResponse:
        _, served = self._find(request.name, request.version)
        description, batched = served.servable.description, served.servable.max_batch > 0
        config = config_wire.ModelConfig(
            name=request.name,
            platform=_PLATFORM,
            backend=_BACKEND,
            max_batch_size=served.servable.max_batch,
            input=[
                config_wire.ModelInput(name=t.name, data_type=_data_type(t), dims=t.wire_shape[batched:])
                for t in description.signature.inputs
            ],
            output=[
                config_wire.ModelOutput(name=t.name, data_type=_data_type(t), dims=t.wire_shape[batched:])
                for t in description.signature.outputs
            ],
            instance_group=[
                config_wire.ModelInstanceGroup(
                    name=description.variant,
                    count=1,
                    kind="KIND_GPU" if description.session.target == "cuda" else "KIND_CPU",
                )
            ],
            default_model_filename=description.path.name,
            parameters={key: config_wire.ModelParameter(string_value=text) for key, text in description.labels},
        )
        config.version_policy.all.SetInParent()
        if batched:
            config.dynamic_batching.max_queue_delay_microseconds = self._queue_delay_us
            config.dynamic_batching.default_queue_policy.max_queue_size = self._queue_capacity
            config.dynamic_batching.default_queue_policy.allow_timeout_override = True
        return wire.ModelConfigResponse(config=config)

    def _model_statistics(self, request: wire.ModelStatisticsRequest) -> wire.ModelStatisticsResponse:
        if request.name:
            self._find(request.name, request.version)
        return wire.ModelStatisticsResponse(
            model_stats=[
                statistics_of(servable)
                for servable in self._servables()
                if servable.state is State.READY
                and request.name in ("", servable.description.model)
                and request.version in ("", servable.description.variant)
            ]
        )

    def _repository_index(self, request: wire.RepositoryIndexRequest) -> wire.RepositoryIndexResponse:
        if request.repository_name:
            raise Unimplemented("'repository_name' specification is not supported")
        return wire.RepositoryIndexResponse(
            models=[
                wire.RepositoryIndexResponse.ModelIndex(
                    name=servable.description.model,
                    version=servable.description.variant,
                    state=_INDEX_STATE[servable.state],
                    reason=servable.reason,
                )
                for servable in self._servables()
                if servable.state is State.READY or not request.ready
            ]
        )

    def _health(self, request: health_pb2.HealthCheckRequest) -> health_pb2.HealthCheckResponse:
        status = health_pb2.HealthCheckResponse
        if request.service in ("", SERVICE):
            return status(status=status.SERVING if self._ready() else status.NOT_SERVING)
        try:
            self._router.route(DEFAULT_TENANT, request.service)
        except NotFound:
            raise NotFound(f"'{request.service}' is neither this service nor a model") from None
        return status(status=status.SERVING if self._is_ready(request.service, "") else status.NOT_SERVING)

    def _find(self, model: str, version: str) -> tuple[Route[Served], Served]:
        """A model's routes and the variant that speaks for it. Raises NotFound and Unavailable."""
        route = self._router.route(DEFAULT_TENANT, model)
        if version:
            return route, self._router.choose(DEFAULT_TENANT, model, version, None)
        if route.split is not None:
            shares = route.split.shares
            return route, route.ready[max(shares, key=shares.__getitem__)]
        for served in route.ready.values():
            return route, served
        raise Unavailable(f"model '{model}' has no version at ready state")


def _unary(kind: type[Request], function: Callable[[Request], Message]) -> Answer:
    def answer(payload: bytes) -> bytes:
        try:
            request = kind.FromString(payload)
        except DecodeError:
            raise InvalidArgument(f"the message is not a {kind.DESCRIPTOR.name}") from None
        return function(request).SerializeToString()

    return answer


def _refuse(sentence: str) -> Answer:
    def answer(payload: bytes) -> bytes:
        raise Unimplemented(sentence)

    return answer


def _data_type(tensor: TensorSpec) -> str:
    return "TYPE_STRING" if tensor.datatype == "BYTES" else f"TYPE_{tensor.datatype}"
