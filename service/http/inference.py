"""The HTTP port: what the Open Inference Protocol says of server and models in its REST form, asked of the engine."""

from collections.abc import Callable
from typing import Any

import grpc
from google.protobuf.message import Message
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from service.http.json_message import as_json
from service.wire.open_inference import grpc_service_pb2 as wire
from service.wire.open_inference.grpc_service_pb2_grpc import GRPCInferenceServiceStub

_SECONDS = 5.0

_HTTP_STATUS = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.FAILED_PRECONDITION: 400,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
    grpc.StatusCode.DEADLINE_EXCEEDED: 504,
}

_LOST = ("failed to connect", "Connection", "Socket closed")

Endpoint = Callable[[Request], Response]


def inference_app(channel: grpc.Channel, grpc_address: str) -> Starlette:
    """Read-only. `channel` leads to an engine, `grpc_address` is where callers find it."""
    stub = GRPCInferenceServiceStub(channel)

    def server(_request: Request) -> Response:
        return _json(stub.ServerMetadata(wire.ServerMetadataRequest(), timeout=_SECONDS))

    def live(_request: Request) -> Response:
        return _flag(stub.ServerLive(wire.ServerLiveRequest(), timeout=_SECONDS).live, 503)

    def ready(_request: Request) -> Response:
        return _flag(stub.ServerReady(wire.ServerReadyRequest(), timeout=_SECONDS).ready, 503)

    def model(request: Request) -> Response:
        return _json(stub.ModelMetadata(wire.ModelMetadataRequest(**_model(request)), timeout=_SECONDS))

    def model_ready(request: Request) -> Response:
        # 400, as Triton and its clients have it.
        return _flag(stub.ModelReady(wire.ModelReadyRequest(**_model(request)), timeout=_SECONDS).ready, 400)

    def config(request: Request) -> Response:
        return _json(stub.ModelConfig(wire.ModelConfigRequest(**_model(request)), timeout=_SECONDS).config)

    def index(_request: Request) -> Response:
        reply = stub.RepositoryIndex(wire.RepositoryIndexRequest(), timeout=_SECONDS)
        return JSONResponse([as_json(entry) for entry in reply.models])

    def infer(_request: Request) -> Response:
        message = f"inference is answered over gRPC only: send ModelInfer to {grpc_address}"
        return JSONResponse({"error": message}, status_code=501)

    routes = [
        Route("/v2", _relayed(server)),
        Route("/v2/health/live", _relayed(live)),
        Route("/v2/health/ready", _relayed(ready)),
        # Triton's clients ask by POST.
        Route("/v2/repository/index", _relayed(index), methods=["GET", "POST"]),
    ]
    for prefix in ("/v2/models/{model}", "/v2/models/{model}/versions/{version}"):
        routes += [
            Route(prefix, _relayed(model)),
            Route(f"{prefix}/ready", _relayed(model_ready)),
            Route(f"{prefix}/config", _relayed(config)),
            Route(f"{prefix}/infer", infer, methods=["POST"]),
        ]
    return Starlette(routes=routes)


def _model(request: Request) -> dict[str, Any]:
    return {"name": request.path_params["model"], "version": request.path_params.get("version", "")}


def _relayed(endpoint: Endpoint) -> Endpoint:
    # A plain function: starlette runs it in a thread, and asking the engine blocks.
    def answer(request: Request) -> Response:
        try:
            return endpoint(request)
        except grpc.RpcError as error:
            status, details = error.code(), error.details() or ""
            # What grpc itself says of a lost connection names our addresses.
            lost = status is grpc.StatusCode.UNAVAILABLE and details.startswith(_LOST)
            text = "the engine cannot be reached" if lost else details
            return JSONResponse({"error": text}, status_code=_HTTP_STATUS.get(status, 500))

    return answer


def _json(message: Message) -> Response:
    return JSONResponse(as_json(message))


def _flag(value: bool, otherwise: int) -> Response:
    return Response(status_code=200 if value else otherwise)
