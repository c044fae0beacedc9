import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from optimizer.artifact.graph_signature import signature_of
from optimizer.artifact.rows import Rows
from optimizer.errors import NotApplicable, PassFailed
from optimizer.intake.stages import OnnxModel
from optimizer.passes import fp16, fuse
from optimizer.passes.context import Splits
from optimizer.recipe.fp16 import Fp16
from optimizer.recipe.fuse import Fuse


def _types(path):
    return {tensor.data_type for tensor in onnx.load(path).graph.initializer}


def _answers(model, arrays):
    return ort.InferenceSession(model.path, providers=["CPUExecutionProvider"]).run(None, arrays)[0]


@pytest.mark.parametrize("kind", ["resnet", "bert", "vit"])
def test_fp16_converts_weights_and_keeps_inputs_and_outputs(kind, request, context):
    sample, model = request.getfixturevalue(kind), request.getfixturevalue(f"{kind}_onnx")
    half = fp16.run(Fp16(), model, context(sample))
    assert TensorProto.FLOAT16 in _types(half.path)
    assert half.signature == model.signature
    assert half.path.stat().st_size < 0.7 * model.path.stat().st_size
    arrays = {spec.name: sample.rows.arrays[spec.name][:20] for spec in model.signature.inputs}
    np.testing.assert_allclose(_answers(half, arrays), _answers(model, arrays), atol=0.05)


def test_fp16_converts_a_fused_graph(bert, bert_onnx, context, tmp_path):
    fused = fuse.run(Fuse(), bert_onnx, context(bert, directory="fused"))
    half = fp16.run(Fp16(), fused, context(bert))
    arrays = {spec.name: bert.rows.arrays[spec.name][:20] for spec in fused.signature.inputs}
    np.testing.assert_allclose(_answers(half, arrays), _answers(fused, arrays), atol=0.05)


def _chain(tmp_path, scale):
    """x -> Mul(scale) -> Mul(1/scale) -> MatMul: its middle is as large as `scale`."""
    weights = {
        "up": np.float32(scale), "down": np.float32(1 / scale), "w": np.eye(4, dtype=np.float32),
    }  # fmt: skip
    graph = helper.make_graph(
        [
            helper.make_node("Mul", ["x", "up"], ["big"], name="grow"),
            helper.make_node("Mul", ["big", "down"], ["small"], name="shrink"),
            helper.make_node("MatMul", ["small", "w"], ["y"], name="mix"),
        ],
        "chain",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    path = tmp_path / "chain.onnx"
    onnx.save(model, path)
    return OnnxModel(path, signature_of(model))


def test_fp16_leaves_large_values_in_fp32(resnet, context, tmp_path):
    rows = Rows({"x": np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)})
    given = context(resnet, splits=Splits(rows, rows, rows))
    model = _chain(tmp_path, scale=1e6)
    half = fp16.run(Fp16(), model, given)
    assert "2 nodes stay in fp32" in given.notes[1]
    assert TensorProto.FLOAT16 in _types(half.path)
    np.testing.assert_allclose(_answers(half, rows.arrays), rows.arrays["x"], atol=0.01)


def test_fp16_has_nothing_to_do_without_floats(resnet, resnet_onnx, context, tmp_path):
    rows = Rows({"x": np.ones((4, 4), np.float32)})
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"], name="relu")],
        "relu",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, tmp_path / "relu.onnx")
    with pytest.raises(NotApplicable, match="nothing to convert"):
        fp16.run(
            Fp16(),
            OnnxModel(tmp_path / "relu.onnx", signature_of(model)),
            context(resnet, splits=Splits(rows, rows, rows)),
        )


def test_sort_nodes_puts_readers_behind_writers():
    nodes = [
        helper.make_node("Relu", ["b"], ["c"], name="third"),
        helper.make_node("Relu", ["a"], ["b"], name="second"),
        helper.make_node("Relu", ["x"], ["a"], name="first"),
    ]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])], [])
    fp16.sort_nodes(graph)
    assert [node.name for node in graph.node] == ["first", "second", "third"]


def test_sort_nodes_refuses_a_graph_that_reads_what_nothing_writes():
    graph = helper.make_graph([helper.make_node("Relu", ["nowhere"], ["c"], name="lost")], "g", [], [])
    with pytest.raises(PassFailed, match="'lost' reads what nothing writes"):
        fp16.sort_nodes(graph)
