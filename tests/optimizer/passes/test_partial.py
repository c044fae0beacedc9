import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from optimizer.artifact.graph_signature import signature_of
from optimizer.artifact.rows import Rows
from optimizer.errors import InvalidRecipe, NotApplicable
from optimizer.intake.stages import OnnxModel
from optimizer.metrics.intervals import Interval
from optimizer.passes import partial, quantize_dynamic, quantize_static
from optimizer.passes.context import Splits
from optimizer.recipe.quantize import QuantizeDynamic, QuantizeStatic

_EVEN = Interval(1.0, 0.9, 1.1)


@pytest.fixture(autouse=True)
def _no_clock(monkeypatch):
    """Both are equally fast unless a test says otherwise."""
    monkeypatch.setattr(partial, "times_faster", lambda *_: _EVEN)
    monkeypatch.setattr(quantize_static, "times_faster", lambda *_: _EVEN)


def _poisoned(path):
    """Three products; what the second reads has one channel a thousand times larger than the others, to no use."""
    random = np.random.default_rng(0)
    weights = {f"w{number}": random.normal(size=(16, 16)).astype(np.float32) for number in range(3)}
    weights["w1"][0] = 1e-4
    weights["w2"] = weights["w2"][:, :4]
    grow = np.ones(16, np.float32)
    grow[0] = 3000
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w0"], ["a"], name="first"),
            helper.make_node("Mul", ["a", "grow"], ["b"], name="grow"),
            helper.make_node("MatMul", ["b", "w1"], ["c"], name="poisoned"),
            helper.make_node("Relu", ["c"], ["d"], name="relu"),
            helper.make_node("MatMul", ["d", "w2"], ["e"], name="last"),
            helper.make_node("Softmax", ["e"], ["y"], name="softmax"),
        ],
        "poisoned",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])],
        [numpy_helper.from_array(array, name) for name, array in {**weights, "grow": grow}.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, path)
    return OnnxModel(path, signature_of(model))


@pytest.fixture
def poisoned(resnet, context, tmp_path):
    """The model, and a context whose labels are what it answers in float."""
    model = _poisoned(tmp_path / "poisoned.onnx")
    x = np.random.default_rng(1).normal(size=(500, 16)).astype(np.float32)
    answers = ort.InferenceSession(model.path, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
    rows = Rows({"x": x}, answers.argmax(axis=1).astype(np.int64))
    halves = [rows.take(np.arange(start, start + 250)) for start in (0, 250)]
    return model, context(resnet, splits=Splits(halves[0], halves[0], halves[1]))


def _passes(dynamic, **options):
    if dynamic:
        return quantize_dynamic, QuantizeDynamic(**options)
    return quantize_static, QuantizeStatic(**options)


@pytest.mark.parametrize("dynamic", [False, True])
def test_the_node_that_must_stay_in_float_is_found(poisoned, dynamic):
    model, context = poisoned
    module, config = _passes(dynamic, accuracy_budget=0.03)
    quantised = module.run(config, model, context)
    floats = {
        tensor.name
        for tensor in onnx.load(quantised.path).graph.initializer
        if tensor.data_type == TensorProto.FLOAT and len(tensor.dims) == 2
    }
    assert floats == {"w1"}
    (table,) = context.tables
    assert (table.kind, table.columns) == ("sensitivity", ("node", "operator", "error", "in float"))
    assert table.rows[0][:2] == ("poisoned", "MatMul")
    assert [row[3] for row in table.rows] == [True, False, False]
    assert table.rows[0][2] > 5 * table.rows[1][2]
    assert any("1 of 3 weighted nodes in float: poisoned" in note for note in context.notes)


@pytest.mark.parametrize("dynamic", [False, True])
def test_without_partial_all_is_quantised_and_the_loss_is_told(poisoned, dynamic):
    model, context = poisoned
    module, config = _passes(dynamic, partial=False, skip_slow=False)
    module.run(config, model, context)
    assert context.tables == []
    assert any("more than the budget of 0.005" in note for note in context.notes)


def test_no_node_within_the_budget_is_not_applicable(poisoned, monkeypatch):
    model, context = poisoned
    monkeypatch.setattr(partial.Partial, "score", lambda *_: 0.0)
    with pytest.raises(NotApplicable, match=r"within a loss of 0\.005 on 250 selection rows"):
        quantize_static.run(QuantizeStatic(), model, context)


def test_sensitivity_may_be_asked_for(resnet, resnet_onnx, context):
    given = context(resnet)
    quantize_static.run(QuantizeStatic(sensitivity="always"), resnet_onnx, given)
    (table,) = given.tables
    errors = [row[2] for row in table.rows]
    assert errors == sorted(errors, reverse=True)
    assert {row[1] for row in table.rows} >= {"Conv", "Gemm", "Add"}
    assert not any(row[3] for row in table.rows)


def test_named_nodes_stay_in_float(poisoned):
    model, context = poisoned
    quantised = quantize_static.run(QuantizeStatic(float_nodes=("poisoned",), partial=False), model, context)
    names = {tensor.name for tensor in onnx.load(quantised.path).graph.initializer}
    assert "w1" in names
    assert "w0" not in names
    with pytest.raises(InvalidRecipe, match=r"float_nodes names 'nobody'.* first, poisoned, last"):
        quantize_static.run(QuantizeStatic(float_nodes=("nobody",)), model, context)


def test_a_kind_that_is_slower_in_integers_stays_in_float(bert, bert_onnx, context, monkeypatch):
    """A clock that says that every trial in float is twice as fast stops at the last kind, which must stay integer."""
    given = context(bert)
    monkeypatch.setattr(partial, "times_faster", lambda *_: Interval(2.0, 1.9, 2.1))
    quantised = quantize_dynamic.run(QuantizeDynamic(), bert_onnx, given)
    operators = [node.op_type for node in onnx.load(quantised.path).graph.node]
    assert 0 < operators.count("MatMulInteger") < 14
    assert any("stay in float: the graph is 2.00 times faster so" in note for note in given.notes)


def test_a_graph_that_is_not_faster_says_so(bert, bert_onnx, context):
    given = context(bert)
    quantize_dynamic.run(QuantizeDynamic(), bert_onnx, given)
    assert any(note.startswith("not faster than in float") for note in given.notes)


def test_types_are_measured_where_the_processor_saturates(resnet, resnet_onnx, context, monkeypatch):
    hardware = context(resnet).hardware.model_copy(update={"isa": ("avx", "avx2")})
    for faster, element in ((1.2, TensorProto.INT8), (0.8, TensorProto.UINT8)):
        ratio = Interval(faster, faster - 0.1, faster + 0.1)
        monkeypatch.setattr(quantize_static, "times_faster", lambda *_, ratio=ratio: ratio)
        given = context(resnet, directory=str(faster), hardware=hardware)
        quantised = quantize_static.run(QuantizeStatic(accuracy_budget=0.1), resnet_onnx, given)
        kernels = {t.data_type for t in onnx.load(quantised.path).graph.initializer if len(t.dims) == 4}
        assert kernels == {element}
        assert any(note.startswith(f"u8s8_reduced is {faster:.2f} times as fast as u8u8") for note in given.notes)


def test_attention_that_stays_in_float_is_told(bert, bert_onnx, context):
    from optimizer.passes import fuse
    from optimizer.recipe.fuse import Fuse

    fused = fuse.run(Fuse(sums="joined"), bert_onnx, context(bert, directory="fused"))
    given = context(bert)
    quantize_static.run(QuantizeStatic(), fused, given)
    assert any("2 fused attention blocks stay in float" in note for note in given.notes)
