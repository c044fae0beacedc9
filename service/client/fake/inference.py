"""The Open Inference Protocol over a State: one FP32 input [-1, 4], and the input doubled as the output."""

import grpc
import numpy as np

from service.client import tensors
from service.client.fake.state import State
from service.wire.open_inference import grpc_service_pb2 as pb2
from service.wire.open_inference.grpc_service_pb2_grpc import GRPCInferenceServiceServicer

FEATURES = 4


class Inference(GRPCInferenceServiceServicer):
    """Answers as the variant that was asked for, or else as the split's first arm."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.requests: list[pb2.ModelInferRequest] = []

    def ServerLive(self, request: pb2.ServerLiveRequest, context: grpc.ServicerContext) -> object:
        return pb2.ServerLiveResponse(live=True)

    def ServerReady(self, request: pb2.ServerReadyRequest, context: grpc.ServicerContext) -> object:
        return pb2.ServerReadyResponse(ready=True)

    def ServerMetadata(self, request: pb2.ServerMetadataRequest, context: grpc.ServicerContext) -> object:
        return pb2.ServerMetadataResponse(name="stillroom", version="0.0.0", extensions=["parameters"])

    def ModelMetadata(self, request: pb2.ModelMetadataRequest, context: grpc.ServicerContext) -> object:
        self._answering(request.name, request.version, context)
        return pb2.ModelMetadataResponse(
            name=request.name,
            versions=[variant.name for variant in self._state.variants[request.name] if variant.accepted],
            platform="onnxruntime_onnx",
            inputs=[pb2.ModelMetadataResponse.TensorMetadata(name="x", datatype="FP32", shape=[-1, FEATURES])],
            outputs=[pb2.ModelMetadataResponse.TensorMetadata(name="logits", datatype="FP32", shape=[-1, FEATURES])],
        )

    def ModelInfer(self, request: pb2.ModelInferRequest, context: grpc.ServicerContext) -> object:
        self.requests.append(request)
        version = self._answering(request.model_name, request.model_version, context)
        sent = request.inputs[0]
        if sent.datatype != "FP32" or list(sent.shape)[1:] != [FEATURES]:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"input 'x' must be FP32 [-1, {FEATURES}]")
        rows = tensors.from_raw(request.raw_input_contents[0], "FP32", tuple(sent.shape))
        response = pb2.ModelInferResponse(model_name=request.model_name, model_version=version, id=request.id)
        response.outputs.add(name="logits", datatype="FP32", shape=list(sent.shape))
        response.raw_output_contents.append(tensors.to_raw(np.asarray(rows, np.float32) * 2))
        response.parameters["queue_us"].int64_param = 12
        return response

    def _answering(self, model: str, version: str, context: grpc.ServicerContext) -> str:
        if model not in self._state.traffic:
            context.abort(grpc.StatusCode.NOT_FOUND, f"there is no model {model!r}")
        names = [variant.name for variant in self._state.variants[model]]
        if version and version not in names:
            context.abort(grpc.StatusCode.NOT_FOUND, f"model {model!r} has no variant {version!r}")
        return version or self._state.traffic[model].arms[0].variant
