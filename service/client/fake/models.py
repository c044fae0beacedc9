"""Checkpoints and data sets of the fake server, by the contract of model_service.proto."""

import hashlib

import grpc

from service.client.fake.refusal import not_found, refuse
from service.client.fake.state import State
from service.wire.stillroom.v1 import model_service_pb2 as model_pb2
from service.wire.stillroom.v1.model_service_pb2_grpc import ModelServiceServicer


class Models(ModelServiceServicer):
    """Checkpoints of models; anything that was uploaded is taken for one, unless it is a pickle."""

    def __init__(self, state: State) -> None:
        self._state = state

    def CreateCheckpoint(self, request: model_pb2.CreateCheckpointRequest, context: grpc.ServicerContext) -> object:
        state = self._state
        for file in [*request.files, *request.dataset_files.values()]:
            if file.sha256 not in state.blobs:
                refuse(context, grpc.StatusCode.FAILED_PRECONDITION, f"{file.path} has not been uploaded")
            if state.blobs[file.sha256].startswith(b"\x80\x04"):
                refuse(context, grpc.StatusCode.INVALID_ARGUMENT, f"{file.path} is a pickle, and pickles are refused")
        with state.lock:
            model = state.models.setdefault(request.model, model_pb2.Model(name=request.model))
            model.task = request.task or "classification"
            checkpoint = model.checkpoints.add(
                revision=f"r{len(model.checkpoints) + 1}",
                format="onnx" if request.files[0].path.endswith(".onnx") else "huggingface",
                digest=hashlib.sha256("".join(file.sha256 for file in request.files).encode()).hexdigest(),
                files=request.files,
            )
            checkpoint.create_time.GetCurrentTime()
            for split, file in request.dataset_files.items():
                model.dataset.files[split].CopyFrom(file)
                model.dataset.rows[split] = 1000
            return model_pb2.CreateCheckpointResponse(model=model, checkpoint=checkpoint)

    def GetModel(self, request: model_pb2.GetModelRequest, context: grpc.ServicerContext) -> object:
        model = self._state.models.get(request.model) or not_found(context, f"model {request.model!r}")
        return model_pb2.GetModelResponse(model=model)

    def ListModels(self, request: model_pb2.ListModelsRequest, context: grpc.ServicerContext) -> object:
        return model_pb2.ListModelsResponse(models=self._state.models.values())
