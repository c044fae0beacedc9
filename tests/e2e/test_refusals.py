"""What must not get through, over the real wire: each is refused with a sentence, and the server goes on."""

import hashlib
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from onnx import TensorProto, helper

from service.client.client import Client
from service.errors import FailedPrecondition, InvalidArgument, NotFound
from service.wire.stillroom.v1 import upload_service_pb2 as upload_pb2
from service.wire.stillroom.v1.upload_service_pb2_grpc import UploadServiceStub

pytestmark = [pytest.mark.e2e]


def _pickle(folder: Path, checkpoint: Path) -> Path:
    del checkpoint
    (folder / "model").mkdir()
    (folder / "model" / "pytorch_model.bin").write_bytes(pickle.dumps({"weight": [1.0]}))
    return folder / "model"


def _pickle_called_safetensors(folder: Path, checkpoint: Path) -> Path:
    shutil.copytree(checkpoint, folder / "model")
    (folder / "model" / "model.safetensors").write_bytes(pickle.dumps({"weight": [1.0]}))
    return folder / "model"


def _remote_code(folder: Path, checkpoint: Path) -> Path:
    shutil.copytree(checkpoint, folder / "model")
    config = json.loads((checkpoint / "config.json").read_text())
    config["auto_map"] = {"AutoModelForImageClassification": "theirs--modeling.Theirs"}
    (folder / "model" / "config.json").write_text(json.dumps(config))
    return folder / "model"


def _noise(folder: Path, checkpoint: Path) -> Path:
    del checkpoint
    (folder / "model.onnx").write_bytes(np.random.default_rng(0).bytes(1000))
    return folder / "model.onnx"


def _data_outside(folder: Path, checkpoint: Path) -> Path:
    del checkpoint
    weight = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[4, 4], data_location=TensorProto.EXTERNAL)
    weight.external_data.add(key="location", value="../../../etc/passwd")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
        [weight],
    )
    (folder / "model.onnx").write_bytes(helper.make_model(graph).SerializeToString())
    return folder / "model.onnx"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (_pickle, "pickle"),
        (_pickle_called_safetensors, "safetensors"),
        (_remote_code, "auto_map"),
        (_noise, "ONNX"),
        (_data_outside, "outside"),
    ],
)
def test_no_checkpoint_of_this_kind_gets_in(
    server: Any,
    resnet: tuple[Path, Path],
    tmp_path: Path,
    make: Callable[[Path, Path], Path],
    words: str,
) -> None:
    checkpoint, data = resnet
    refused = make(tmp_path, checkpoint)
    done = server.run("push", "refused", str(refused), "--data", str(data), status=2)
    assert words.lower() in done.stderr.lower()
    assert "Traceback" not in done.stderr
    with Client(server.address) as client, pytest.raises(NotFound):
        client.model("refused")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"labels": np.array([0, 1, 2, 4] * 10)}, "labels go from 0 to 3"),
        ({"pixel_values": np.zeros((40, 3, 24, 24), np.float32)}, "pixel_values"),
        ({"images": np.zeros((40, 1, 24, 24), np.float32)}, "images"),
        ({"labels": np.array([0, 1, 2, 3] * 9)}, "different numbers of rows"),
    ],
)
def test_no_data_of_this_kind_gets_in(
    server: Any, resnet: tuple[Path, Path], tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    right = {"pixel_values": np.zeros((40, 1, 24, 24), np.float32), "labels": np.array([0, 1, 2, 3] * 10)}
    np.savez(tmp_path / "data.npz", **(right | change))
    with Client(server.address) as client:
        with pytest.raises(InvalidArgument) as refused:
            client.push("refused", resnet[0], {"all": tmp_path / "data.npz"})
        assert words in str(refused.value)
        with pytest.raises(NotFound):
            client.model("refused")


def test_bytes_of_another_digest_are_dropped(server: Any) -> None:
    with grpc.insecure_channel(server.address) as channel:
        stub = UploadServiceStub(channel)
        sha256 = hashlib.sha256(b"announced").hexdigest()
        upload = stub.CreateUpload(upload_pb2.CreateUploadRequest(sha256=sha256, size_bytes=9)).upload
        with pytest.raises(grpc.RpcError) as refused:
            stub.WriteUpload(iter([upload_pb2.WriteUploadRequest(upload_id=upload.upload_id, data=b"delivered")]))
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert sha256 in refused.value.details()


def test_a_truncated_upload_is_no_file(server: Any, resnet: tuple[Path, Path]) -> None:
    with grpc.insecure_channel(server.address) as channel:
        stub = UploadServiceStub(channel)
        content = (resnet[0] / "model.safetensors").read_bytes() + b"another"
        sha256 = hashlib.sha256(content).hexdigest()
        upload = stub.CreateUpload(upload_pb2.CreateUploadRequest(sha256=sha256, size_bytes=len(content))).upload
        half = upload_pb2.WriteUploadRequest(upload_id=upload.upload_id, data=content[: len(content) // 2])
        answer = stub.WriteUpload(iter([half])).upload
        assert (answer.complete, answer.received_bytes) == (False, len(content) // 2)


def test_commands_for_models_that_are_not_there_say_so(server: Any) -> None:
    for command in (("optimize", "ghost"), ("variants", "ghost"), ("split", "ghost", "r1.fp32=100")):
        done = server.run(*command, status=1)
        assert "ghost" in done.stderr


def test_a_recipe_in_an_impossible_order_is_refused_before_any_work(
    server: Any, resnet: tuple[Path, Path], tmp_path: Path
) -> None:
    checkpoint, data = resnet
    server.run("push", "stripes", str(checkpoint), "--data", str(data))
    (tmp_path / "recipe.yaml").write_text("name: late\nsteps:\n- use: export\n- use: prune_structured\n")
    done = server.run("optimize", "stripes", "--recipe", str(tmp_path / "recipe.yaml"), status=2)
    assert "prune_structured" in done.stderr
    assert server.json("jobs") == []


def test_a_model_without_variants_has_nobody_to_answer(server: Any, resnet: tuple[Path, Path]) -> None:
    server.run("push", "stripes", str(resnet[0]), "--data", str(resnet[1]))
    with Client(server.address) as client:
        with pytest.raises((NotFound, FailedPrecondition)):
            client.infer("stripes", {"pixel_values": np.zeros((1, 1, 24, 24), np.float32)})
        assert client.status().ready
