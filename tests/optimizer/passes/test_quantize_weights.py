from collections import Counter

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given as assuming
from hypothesis import strategies
from hypothesis.extra import numpy as arrays
from onnx import TensorProto, helper, numpy_helper

from optimizer.artifact.graph_signature import signature_of
from optimizer.artifact.rows import Rows
from optimizer.errors import NotApplicable
from optimizer.intake.stages import OnnxModel
from optimizer.metrics.intervals import Interval
from optimizer.passes import fuse, partial, quantize_weights
from optimizer.passes.context import Splits
from optimizer.passes.weight_bits import round_blocks
from optimizer.recipe.fuse import Fuse
from optimizer.recipe.quantize_weights import QuantizeWeights

_EVEN = Interval(1.0, 0.9, 1.1)
_FLOATS = strategies.floats(-1e3, 1e3, width=32).map(lambda value: np.float32(round(value, 3)))


@pytest.fixture(autouse=True)
def _no_clock(monkeypatch):
    """All graphs are equally fast unless a test says otherwise."""
    for module in (partial, quantize_weights):
        monkeypatch.setattr(module, "times_faster", lambda *_: _EVEN)


def _answers(model, sample):
    fed = {spec.name: sample.rows.arrays[spec.name] for spec in model.signature.inputs}
    return ort.InferenceSession(model.path, providers=["CPUExecutionProvider"]).run(None, fed)[0]


def _distance(one, other):
    return float(np.linalg.norm(one - other) / np.linalg.norm(other))


def _run(model):
    return Counter(node.op_type for node in onnx.load(model.path).graph.node)


def _bits(model):
    return [
        next(attribute.i for attribute in node.attribute if attribute.name == "bits")
        for node in onnx.load(model.path).graph.node
        if node.op_type in ("MatMulNBits", "GatherBlockQuantized")
    ]


@assuming(
    arrays.arrays(
        np.float32,
        strategies.tuples(strategies.integers(1, 4), strategies.sampled_from([2, 16, 20, 48])),
        elements=_FLOATS,
    )
)
def test_blocks_are_rounded_to_a_unit_at_most(table):
    packed, units = round_blocks(table, 16)
    rows, width = table.shape
    assert packed.shape == (rows, width // 2)
    whole = np.empty((rows, width), np.float64)
    whole[:, 0::2], whole[:, 1::2] = packed & 15, packed >> 4
    steps = np.repeat(units, 16, axis=1)[:, :width]
    assert np.all(np.abs((whole - 8) * steps - table) <= np.abs(steps) * 1.001)


@pytest.mark.parametrize(("bits", "most"), [(8, 0.03), (4, 0.4)])
def test_weights_shrink_and_answers_stay(bert, bert_onnx, context, bits, most):
    given = context(bert)
    small = quantize_weights.run(QuantizeWeights(bits=bits, block_size=32), bert_onnx, given)
    assert small.signature == bert_onnx.signature
    assert _run(small)["MatMulNBits"] == 14
    assert _run(small)["MatMul"] < _run(bert_onnx)["MatMul"]
    assert set(_bits(small)) == {bits}
    # The table of words too: of matrices, only positions and token types stay in float.
    floats = [t for t in onnx.load(small.path).graph.initializer if t.data_type == TensorProto.FLOAT]
    assert sum(32 in t.dims and len(t.dims) == 2 and "scale" not in t.name for t in floats) == 2
    assert small.path.stat().st_size < 0.65 * bert_onnx.path.stat().st_size
    assert 0 < _distance(_answers(small, bert), _answers(bert_onnx, bert)) < most
    assert any("MB instead of" in note for note in given.notes)


def test_four_bits_are_smaller_than_eight(bert, bert_onnx, context):
    sizes = {
        bits: quantize_weights.run(
            QuantizeWeights(bits=bits), bert_onnx, context(bert, directory=str(bits))
        ).path.stat()
        for bits in (4, 8)
    }
    assert sizes[4].st_size < sizes[8].st_size


def test_auto_takes_four_bits_where_the_budget_allows(bert, bert_onnx, context, monkeypatch):
    """A judge who takes off half for every table of 4 bits."""
    judged = partial.Partial.score

    def score(self, proto):
        return judged(self, proto) - 0.5 * any(node.op_type == "GatherBlockQuantized" for node in proto.graph.node)

    monkeypatch.setattr(partial.Partial, "score", score)
    given = context(bert)
    small = quantize_weights.run(QuantizeWeights(accuracy_budget=0.05), bert_onnx, given)
    assert _run(small)["GatherBlockQuantized"] == 0
    assert any(tensor.name.endswith("_rows") for tensor in onnx.load(small.path).graph.initializer)
    assert 4 in _bits(small)
    assert any(note.endswith("in 4 bits") for note in given.notes)
    assert not (given.directory / "candidate.onnx").exists()


def test_auto_keeps_eight_bits_where_four_are_slower(bert, bert_onnx, context, monkeypatch):
    monkeypatch.setattr(quantize_weights, "times_faster", lambda *_: Interval(0.5, 0.4, 0.6))
    small = quantize_weights.run(QuantizeWeights(), bert_onnx, context(bert))
    assert set(_bits(small)) == {8}


def test_what_costs_too_much_stays_in_float(bert, bert_onnx, context, monkeypatch):
    judged = partial.Partial.score

    def score(self, proto):
        return judged(self, proto) - 0.5 * (sum(node.op_type == "MatMulNBits" for node in proto.graph.node) > 10)

    monkeypatch.setattr(partial.Partial, "score", score)
    given = context(bert)
    small = quantize_weights.run(QuantizeWeights(bits=8), bert_onnx, given)
    assert 0 < _run(small)["MatMulNBits"] <= 10
    assert [table.kind for table in given.tables] == ["sensitivity"]


def test_fused_attention_stays_in_float_and_is_told(bert, bert_onnx, context):
    fused = fuse.run(Fuse(), bert_onnx, context(bert, directory="fused"))
    given = context(bert)
    quantize_weights.run(QuantizeWeights(bits=8), fused, given)
    assert any("2 fused attention blocks stay in float" in note for note in given.notes)


def _chain(path, width, products):
    """Products with one and the same matrix, one behind the other."""
    matrix = np.random.default_rng(0).normal(size=(width, width)).astype(np.float32) / width
    nodes = [
        helper.make_node("MatMul", [f"x{number}", "w"], [f"x{number + 1}"], name=f"product{number}")
        for number in range(products)
    ]
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("x0", TensorProto.FLOAT, ["batch", width])],
        [helper.make_tensor_value_info(f"x{products}", TensorProto.FLOAT, ["batch", width])],
        [numpy_helper.from_array(matrix, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, path)
    return OnnxModel(path, signature_of(model))


@pytest.fixture
def rows(resnet, context):
    """A context of rows for chains."""

    def make(width, **changes):
        x = np.random.default_rng(1).normal(size=(50, width)).astype(np.float32)
        rows = Rows({"x0": x}, x.argmax(axis=1).astype(np.int64))
        return context(resnet, splits=Splits(rows, rows, rows), **changes)

    return make


def test_a_shared_matrix_is_kept_once(rows, tmp_path):
    model = _chain(tmp_path / "chain.onnx", 64, 3)
    small = quantize_weights.run(QuantizeWeights(bits=8, partial=False), model, rows(64))
    assert _run(small) == {"MatMulNBits": 3}
    assert len(onnx.load(small.path).graph.initializer) == 2


def test_a_file_that_would_grow_is_not_applicable(rows, tmp_path):
    model = _chain(tmp_path / "chain.onnx", 4, 1)
    with pytest.raises(NotApplicable, match=r"the file would have \d+ bytes, and it has"):
        quantize_weights.run(QuantizeWeights(bits=8, partial=False), model, rows(4))


def test_a_table_of_odd_width_takes_eight_bits(rows, tmp_path):
    random = np.random.default_rng(0)
    table, matrix = random.normal(size=(200, 33)), random.normal(size=(33, 64))
    graph = helper.make_graph(
        [
            helper.make_node("ArgMax", ["x0"], ["row"], name="row", axis=1, keepdims=0),
            helper.make_node("Gather", ["table", "row"], ["found"], name="found"),
            helper.make_node("MatMul", ["found", "matrix"], ["y"], name="mix"),
        ],
        "odd",
        [helper.make_tensor_value_info("x0", TensorProto.FLOAT, ["batch", 200])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 64])],
        [
            numpy_helper.from_array(table.astype(np.float32), "table"),
            numpy_helper.from_array(matrix.astype(np.float32), "matrix"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, tmp_path / "odd.onnx")
    config = QuantizeWeights(bits=4, block_size=16, partial=False)
    small = quantize_weights.run(config, OnnxModel(tmp_path / "odd.onnx", signature_of(model)), rows(200))
    assert _bits(small) == [4]
    assert any(tensor.name == "table_rows" for tensor in onnx.load(small.path).graph.initializer)


def test_a_graph_without_matrices_is_not_applicable(rows, tmp_path):
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x0"], ["y"], name="relu")],
        "relu",
        [helper.make_tensor_value_info("x0", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, tmp_path / "relu.onnx")
    with pytest.raises(NotApplicable, match="nothing to round"):
        quantize_weights.run(QuantizeWeights(), OnnxModel(tmp_path / "relu.onnx", signature_of(model)), rows(4))
