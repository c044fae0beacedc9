"""ModelService: pushes become revisions, or are refused with a sentence and leave nothing."""

from collections.abc import Callable
from typing import Any

import grpc
import pytest

from optimizer.artifact.manifest import Verdict
from service.uploads.fake import FakeInspector
from service.wire.stillroom.v1 import model_service_pb2 as wire
from service.wire.stillroom.v1.model_service_pb2_grpc import ModelServiceStub

Push = Callable[..., wire.CreateCheckpointResponse]
Upload = Callable[[bytes, str], wire.File]
Make = Callable[..., bytes]

ABSENT = wire.File(path="model.onnx", sha256="0" * 64)


@pytest.fixture
def stub(channel: grpc.Channel) -> ModelServiceStub:
    return ModelServiceStub(channel)


def refused(call: Callable[[], Any]) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as failure:
        call()
    return failure.value.code(), failure.value.details()


def test_a_push_makes_a_model_with_its_data(push: Push, linear_model: Make, rows: Make, stub: ModelServiceStub) -> None:
    response = push("flowers", linear_model(), rows())
    assert (response.model.name, response.model.task) == ("flowers", "classification")
    assert (response.checkpoint.revision, response.checkpoint.format) == ("r1", "onnx")
    assert [file.path for file in response.checkpoint.files] == ["model.onnx"]
    assert response.checkpoint.files[0].size_bytes == len(linear_model())
    assert dict(response.model.dataset.rows) == {"all": len(rows())}
    assert stub.GetModel(wire.GetModelRequest(model="flowers")).model == response.model
    assert list(stub.ListModels(wire.ListModelsRequest()).models) == [response.model]


def test_revisions_count_up_and_the_model_keeps_its_data(push: Push, linear_model: Make, rows: Make) -> None:
    first = push("flowers", linear_model(), rows())
    second = push("flowers", linear_model(weight=2.0))
    assert [checkpoint.revision for checkpoint in second.model.checkpoints] == ["r1", "r2"]
    assert second.model.dataset == first.model.dataset
    assert second.model.task == "classification"


def test_the_very_same_push_gives_the_same_revision(push: Push, linear_model: Make, rows: Make) -> None:
    first = push("flowers", linear_model(), rows())
    assert push("flowers", linear_model(), rows()) == first
    assert push("flowers", linear_model()) == first
    # Other data is another question to the same weights, and an older checkpoint pushed again is new again.
    assert push("flowers", linear_model(), rows(count=60)).checkpoint.revision == "r2"
    push("flowers", linear_model(weight=2.0))
    assert push("flowers", linear_model()).checkpoint.revision == "r4"


def test_a_model_without_labels_is_compared_by_agreement(push: Push, linear_model: Make) -> None:
    response = push("flowers", linear_model())
    assert response.model.task == "agreement"
    assert not response.model.HasField("dataset")


def test_a_name_that_is_none_is_refused(stub: ModelServiceStub) -> None:
    request = wire.CreateCheckpointRequest(model="../x", files=[ABSENT])
    status, message = refused(lambda: stub.CreateCheckpoint(request))
    assert status is grpc.StatusCode.INVALID_ARGUMENT
    assert "1 to 128 characters" in message


def test_impossible_pushes_are_refused(upload: Upload, linear_model: Make, stub: ModelServiceStub) -> None:
    named: dict[str, Any] = {"model": "flowers", "files": [upload(linear_model(), "model.onnx")]}
    bad = grpc.StatusCode.INVALID_ARGUMENT
    for change, status, message in (
        ({"files": []}, bad, "at least one file"),
        ({"files": [ABSENT]}, grpc.StatusCode.FAILED_PRECONDITION, "finish its upload first"),
        ({"files": [wire.File(path="a", sha256="x")]}, bad, "64 lower-case"),
        ({"files": [wire.File(path="../a", sha256="0" * 64)]}, bad, "relative path"),
        ({"files": [wire.File(path="a", sha256="0" * 64)] * 1001}, bad, "at most 1000"),
        ({"task": "poetry"}, bad, "allowed are classification, binary"),
    ):
        request = wire.CreateCheckpointRequest(**{**named, **change})
        found = refused(lambda request=request: stub.CreateCheckpoint(request))  # type: ignore[misc]
        assert found[0] is status
        assert message in found[1]
    assert list(stub.ListModels(wire.ListModelsRequest()).models) == []


def test_one_file_cannot_be_given_twice(upload: Upload, linear_model: Make, stub: ModelServiceStub) -> None:
    file = upload(linear_model(), "model.onnx")
    request = wire.CreateCheckpointRequest(model="flowers", files=[file, file])
    assert refused(lambda: stub.CreateCheckpoint(request)) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "the file name 'model.onnx' is given twice",
    )


def test_splits_have_names_of_their_own(upload: Upload, linear_model: Make, rows: Make, stub: ModelServiceStub) -> None:
    request = wire.CreateCheckpointRequest(model="flowers", files=[upload(linear_model(), "model.onnx")])
    request.dataset_files["train"].CopyFrom(upload(rows(), "rows.npz"))
    status, message = refused(lambda: stub.CreateCheckpoint(request))
    assert status is grpc.StatusCode.INVALID_ARGUMENT
    assert "`train` and `eval`" in message


def test_what_the_inspector_refuses_is_not_written(
    push: Push, linear_model: Make, stub: ModelServiceStub, inspector: FakeInspector
) -> None:
    inspector.problem = "this is a shopping list"
    assert refused(lambda: push("flowers", linear_model())) == (
        grpc.StatusCode.INVALID_ARGUMENT,
        "this is a shopping list",
    )
    assert list(stub.ListModels(wire.ListModelsRequest()).models) == []


def test_a_checkpoint_is_held_against_the_data_that_its_model_has(
    push: Push, linear_model: Make, rows: Make, inspector: FakeInspector
) -> None:
    push("flowers", linear_model(), rows())
    push("flowers", linear_model(weight=2.0))
    assert inspector.asked == [(["model.onnx"], ["all"], ""), (["model.onnx"], ["all"], "classification")]


def test_a_model_has_one_signature(
    push: Push, linear_model: Make, publish: Callable[..., None], inspector: FakeInspector
) -> None:
    push("flowers", linear_model())
    publish("flowers", "r1.fp32", Verdict.SOURCE)
    inspector.findings["inputs"] = {"other": {"datatype": "FP32", "shape": ["batch", 4]}}
    status, message = refused(lambda: push("flowers", linear_model(weight=2.0)))
    assert status is grpc.StatusCode.INVALID_ARGUMENT
    assert "push it under a new name" in message


def test_an_unknown_model_is_not_found_and_the_known_ones_are_named(
    push: Push, linear_model: Make, stub: ModelServiceStub
) -> None:
    assert "none yet" in refused(lambda: stub.GetModel(wire.GetModelRequest(model="x")))[1]
    push("flowers", linear_model())
    assert refused(lambda: stub.GetModel(wire.GetModelRequest(model="x"))) == (
        grpc.StatusCode.NOT_FOUND,
        "there is no model 'x'; models are: flowers",
    )
