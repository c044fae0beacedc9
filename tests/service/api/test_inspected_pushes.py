"""Pushes that are inspected for real: accepted, or refused with a sentence; the server goes on."""

from collections.abc import Callable
from typing import Any

import grpc
import pytest

from service.uploads.inspection import ChildInspector
from service.wire.stillroom.v1 import model_service_pb2 as wire
from service.wire.stillroom.v1.model_service_pb2_grpc import ModelServiceStub

Push = Callable[..., wire.CreateCheckpointResponse]
Upload = Callable[[bytes, str], wire.File]
Make = Callable[..., bytes]


@pytest.fixture
def inspector() -> ChildInspector:
    return ChildInspector()


@pytest.fixture
def stub(channel: grpc.Channel) -> ModelServiceStub:
    return ModelServiceStub(channel)


def refused(call: Callable[[], Any]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as failure:
        call()
    return failure.value.code(), failure.value.details()


def test_a_fitting_push_is_accepted(push: Push, linear_model: Make, rows: Make) -> None:
    response = push("flowers", linear_model(), rows())
    assert (response.checkpoint.format, response.model.task) == ("onnx", "classification")
    assert dict(response.model.dataset.rows) == {"all": 30}


@pytest.mark.parametrize(
    "files",
    [
        {"weights.bin": b"\x80\x04\x95pickle."},
        {"config.json": b'{"auto_map": {"AutoModel": "evil.Model"}, "model_type": "x"}', "model.safetensors": b"x"},
    ],
)
def test_what_is_no_checkpoint_is_refused(upload: Upload, stub: ModelServiceStub, files: dict[str, bytes]) -> None:
    request = wire.CreateCheckpointRequest(model="x", files=[upload(data, path) for path, data in files.items()])
    status, found = refused(lambda: stub.CreateCheckpoint(request))
    assert status is grpc.StatusCode.INVALID_ARGUMENT
    assert len(found) > 20
    # The server goes on, and nothing was written.
    assert list(stub.ListModels(wire.ListModelsRequest()).models) == []


def test_data_that_does_not_fit_is_refused(push: Push, linear_model: Make, rows: Make) -> None:
    for data, message in (({"labels": [5] * 30}, "out of range"), ({"width": 5}, "[4]"), ({"name": "z"}, "z")):
        status, found = refused(lambda data=data: push("flowers", linear_model(), rows(**data)))  # type: ignore[misc]
        assert status is grpc.StatusCode.INVALID_ARGUMENT
        assert message in found


def test_a_checkpoint_that_does_not_fit_the_models_data_is_refused(push: Push, linear_model: Make, rows: Make) -> None:
    push("flowers", linear_model(), rows())
    status, message = refused(lambda: push("flowers", linear_model(name="other")))
    assert status is grpc.StatusCode.INVALID_ARGUMENT
    assert "other" in message
