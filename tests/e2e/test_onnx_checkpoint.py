"""A plain ONNX file with two inputs through the same loop, with labels and without."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tritonclient.grpc as triton
from onnx import TensorProto, helper, numpy_helper

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(300)]

ROWS = 600
WIDTH = 512
CLASSES = 10


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(model.onnx, data.npz): a sum of two tables' rows and a few wide layers; labels are mostly its own answers."""
    folder = tmp_path_factory.mktemp("onnx")
    random = np.random.default_rng(0)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        values = random.normal(0, shape[-2] ** -0.5 if len(shape) > 1 else 0.1, shape)
        return numpy_helper.from_array(values.astype(np.float32), name)

    graph = helper.make_graph(
        [
            helper.make_node("Gather", ["table", "word"], ["embedded"]),
            helper.make_node("MatMul", ["features", "wide"], ["projected"]),
            helper.make_node("Add", ["embedded", "projected"], ["h0"]),
            helper.make_node("Relu", ["h0"], ["h1"]),
            helper.make_node("MatMul", ["h1", "inner"], ["h2"]),
            helper.make_node("Relu", ["h2"], ["h3"]),
            helper.make_node("Gemm", ["h3", "out", "bias"], ["scores"]),
        ],
        "two_inputs",
        [
            helper.make_tensor_value_info("word", TensorProto.INT64, ["batch"]),
            helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", 64]),
        ],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", CLASSES])],
        [
            weight("table", 100, WIDTH),
            weight("wide", 64, WIDTH),
            weight("inner", WIDTH, WIDTH),
            weight("out", WIDTH, CLASSES),
            weight("bias", CLASSES),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, folder / "model.onnx")
    word = random.integers(0, 100, ROWS)
    features = random.normal(0, 1, (ROWS, 64)).astype(np.float32)
    from onnx.reference import ReferenceEvaluator

    (scores,) = ReferenceEvaluator(model).run(None, {"word": word, "features": features})
    labels = np.where(random.random(ROWS) < 0.9, np.asarray(scores).argmax(1), random.integers(0, CLASSES, ROWS))
    np.savez(folder / "data.npz", word=word, features=features, labels=labels.astype(np.int64))
    return folder / "model.onnx", folder / "data.npz"


def _infer(client: triton.InferenceServerClient, data: Path, rows: int, version: str = "") -> np.ndarray[Any, Any]:
    with np.load(data) as file:
        word = triton.InferInput("word", [rows], "INT64")
        word.set_data_from_numpy(file["word"][:rows])
        features = triton.InferInput("features", [rows, 64], "FP32")
        features.set_data_from_numpy(file["features"][:rows])
    scores: np.ndarray[Any, Any] = client.infer("tables", [word, features], model_version=version).as_numpy("scores")
    return scores


def test_a_plain_onnx_file_becomes_measured_variants(server: Any, checkpoint: tuple[Path, Path]) -> None:
    model, data = checkpoint
    server.run("push", "tables", str(model), "--data", str(data))
    server.run("optimize", "tables", "--max-accuracy-drop", "0.05", "--wait")
    variants = {variant["name"]: variant for variant in server.json("variants", "tables")}
    source = variants.pop("r1.fp32")
    assert source["verdict"] == "source"
    assert 0.8 < source["metric"]["value"] < 1
    # What onnxruntime reads is what the owner pushed, with nothing taken away.
    assert abs(source["size_bytes"] - model.stat().st_size) < 4096
    assert {"r1.int8", "r1.int8-dynamic"} <= set(variants)
    for variant in variants.values():
        assert variant["reason"]
        assert variant["accepted"] is (variant["verdict"] == "accept")

    server.until(lambda: server.client().is_model_ready("tables", "r1.fp32"), 30, "READY source")
    with server.client() as client:
        metadata = client.get_model_metadata("tables", as_json=True)
        assert {i["name"]: (i["datatype"], i["shape"]) for i in metadata["inputs"]} == {
            "word": ("INT64", ["-1"]),
            "features": ("FP32", ["-1", "64"]),
        }
        session = onnx.load(model)
        from onnx.reference import ReferenceEvaluator

        with np.load(data) as file:
            (expected,) = ReferenceEvaluator(session).run(
                None, {"word": file["word"][:5], "features": file["features"][:5]}
            )
        np.testing.assert_allclose(_infer(client, data, 5), np.asarray(expected), rtol=1e-3, atol=1e-3)
        for name, variant in variants.items():
            if variant["accepted"]:
                assert _infer(client, data, 1, name).shape == (1, CLASSES)


def test_without_labels_variants_are_compared_by_agreement(
    server: Any, checkpoint: tuple[Path, Path], tmp_path: Path
) -> None:
    model, data = checkpoint
    with np.load(data) as file:
        np.savez(tmp_path / "unlabelled.npz", word=file["word"], features=file["features"])
    (tmp_path / "int8.yaml").write_text("name: int8\nsteps:\n- use: quantize_dynamic\n")
    server.run("push", "mute", str(model), "--data", str(tmp_path / "unlabelled.npz"))
    server.run("optimize", "mute", "--recipe", str(tmp_path / "int8.yaml"), "--wait")
    variants = {variant["name"]: variant for variant in server.json("variants", "mute")}
    assert variants["r1.fp32"]["metric"]["name"] == "agreement"
    assert variants["r1.fp32"]["metric"]["value"] == 1
    assert 0.5 < variants["r1.int8"]["metric"]["value"] <= 1
