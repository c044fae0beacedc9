from collections import Counter

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper
from onnxruntime.quantization import QuantType

from optimizer.artifact.graph_signature import signature_of
from optimizer.artifact.manifest import Hardware
from optimizer.artifact.rows import Rows
from optimizer.errors import NotApplicable
from optimizer.intake.stages import OnnxModel
from optimizer.passes import fuse, quantize_dynamic, quantize_static
from optimizer.passes.context import Splits
from optimizer.passes.integer_types import choose, integer_weights
from optimizer.recipe.fuse import Fuse
from optimizer.recipe.quantize import QuantizeDynamic, QuantizeStatic

_VNNI = Hardware(cpu="a", cores=2, isa=("avx2", "avx512f", "avx512_vnni"), gpu=None, onnxruntime="1")
_AVX2 = Hardware(cpu="b", cores=2, isa=("sse4_1", "avx", "fma", "avx2"), gpu=None, onnxruntime="1")
_ARM = Hardware(cpu="c", cores=2, isa=("asimd", "asimddp"), gpu=None, onnxruntime="1")


def _answers(model, sample):
    arrays = {spec.name: sample.rows.arrays[spec.name] for spec in model.signature.inputs}
    return ort.InferenceSession(model.path, providers=["CPUExecutionProvider"]).run(None, arrays)[0]


def _agreement(one, other):
    return float((one.argmax(1) == other.argmax(1)).mean())


def _optimised(path, tmp_path):
    """Operators that onnxruntime really runs."""
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node)


@pytest.mark.parametrize(
    ("types", "hardware", "target", "expected"),
    [
        ("auto", _VNNI, "cpu", "u8s8"),
        ("auto", _AVX2, "cpu", "u8u8"),
        ("auto", _ARM, "cpu", "u8s8"),
        ("auto", _VNNI, "cuda", "s8s8"),
        ("u8s8_reduced", _VNNI, "cpu", "u8s8_reduced"),
    ],
)
def test_types_follow_the_processor(types, hardware, target, expected):
    chosen = choose(types, hardware, target)
    assert chosen.name == expected
    assert chosen.reduce_range == (expected == "u8s8_reduced")


@pytest.mark.parametrize(("hardware", "element"), [(_VNNI, TensorProto.INT8), (_AVX2, TensorProto.UINT8)])
def test_static_quantises_a_convolutional_network_throughout(resnet, resnet_onnx, context, tmp_path, hardware, element):
    given = context(resnet, hardware=hardware)
    types = "u8s8" if hardware is _VNNI else "u8u8"
    quantised = quantize_static.run(QuantizeStatic(types=types, skip_slow=False), resnet_onnx, given)
    proto = onnx.load(quantised.path)
    assert integer_weights(proto) == Counter(node.op_type for node in proto.graph.node)["Conv"] + 1
    assert {tensor.data_type for tensor in proto.graph.initializer if len(tensor.dims) == 4} == {element}
    assert quantised.signature == resnet_onnx.signature
    assert quantised.path.stat().st_size < 0.4 * resnet_onnx.path.stat().st_size
    assert _agreement(_answers(quantised, resnet), _answers(resnet_onnx, resnet)) > 0.98
    # Everything between the first and the last layer runs in integers, residual sums included.
    run = _optimised(quantised.path, tmp_path)
    assert run["Conv"] == run["Add"] == run["MaxPool"] == 0
    assert run["QLinearConv"] > 5
    assert run["QLinearAdd"] == 3
    assert run["QuantizeLinear"] <= 2


@pytest.mark.parametrize("calibration", ["entropy", "percentile"])
@pytest.mark.parametrize("per_channel", [True, False])
def test_static_calibrates_by_histograms(resnet, resnet_onnx, context, calibration, per_channel):
    config = QuantizeStatic(calibration=calibration, per_channel=per_channel, rows=40, skip_slow=False)
    quantised = quantize_static.run(config, resnet_onnx, context(resnet))
    assert _agreement(_answers(quantised, resnet), _answers(resnet_onnx, resnet)) > 0.9


def test_static_leaves_the_sensitive_parts_of_an_encoder_in_float(bert, bert_onnx, context, tmp_path):
    config = QuantizeStatic(skip_slow=False, embeddings=False)
    quantised = quantize_static.run(config, bert_onnx, context(bert))
    assert integer_weights(onnx.load(quantised.path)) == 14
    run = _optimised(quantised.path, tmp_path)
    assert not any(name.startswith("QLinear") and name not in ("QLinearMatMul",) for name in run)
    assert _agreement(_answers(quantised, bert), _answers(bert_onnx, bert)) > 0.95


def test_static_calibrates_on_many_rows_as_on_all_at_once(resnet, resnet_onnx, context, tmp_path):
    """Ranges of chunks are merged: 40 rows in chunks of 32 give the ranges of 40 rows."""
    given = context(resnet)
    few = quantize_static.run(QuantizeStatic(skip_slow=False, rows=8), resnet_onnx, context(resnet, directory="few"))
    all_rows = quantize_static.run(QuantizeStatic(skip_slow=False, rows=40), resnet_onnx, given)
    scales = [
        {
            tensor.name: float(onnx.numpy_helper.to_array(tensor))
            for tensor in onnx.load(model.path).graph.initializer
            if tensor.name.endswith("_scale") and not tensor.dims
        }
        for model in (few, all_rows)
    ]
    assert scales[0].keys() == scales[1].keys()
    assert all(scales[1][name] >= scales[0][name] * 0.999 for name in scales[0])
    assert any(scales[1][name] > scales[0][name] for name in scales[0])
    assert "on 40 rows" in given.notes[0]


def test_dynamic_quantises_the_products_of_an_encoder(bert, bert_onnx, context):
    given = context(bert)
    quantised = quantize_dynamic.run(QuantizeDynamic(skip_slow=False), bert_onnx, given)
    run = Counter(node.op_type for node in onnx.load(quantised.path).graph.node)
    assert run["MatMulInteger"] == 14
    assert run["ConvInteger"] == 0
    assert "14 integer products" in given.notes[0]
    assert _agreement(_answers(quantised, bert), _answers(bert_onnx, bert)) > 0.95


def test_dynamic_quantises_fused_attention(bert, bert_onnx, context, tmp_path):
    fused = fuse.run(Fuse(), bert_onnx, context(bert, directory="fused"))
    quantised = quantize_dynamic.run(QuantizeDynamic(skip_slow=False, embeddings=False), fused, context(bert))
    proto = onnx.load(quantised.path)
    floats = [t.name for t in proto.graph.initializer if t.data_type == TensorProto.FLOAT and len(t.dims) == 2]
    # What is left in float is looked up, not multiplied: words, positions and token types.
    assert len(floats) == 3
    assert Counter(node.op_type for node in proto.graph.node)["QAttention"] == 2
    assert _agreement(_answers(quantised, bert), _answers(bert_onnx, bert)) > 0.95


def test_dynamic_takes_other_types_of_weights(bert, bert_onnx, context):
    quantised = quantize_dynamic.run(QuantizeDynamic(types="u8u8", skip_slow=False), bert_onnx, context(bert))
    assert any(tensor.data_type == TensorProto.UINT8 for tensor in onnx.load(quantised.path).graph.initializer)
    with pytest.raises(NotApplicable, match="unsigned activations"):
        quantize_dynamic.run(QuantizeDynamic(types="s8s8"), bert_onnx, context(bert))


@pytest.mark.parametrize(
    ("module", "config"),
    [(quantize_static, QuantizeStatic(skip_slow=False)), (quantize_dynamic, QuantizeDynamic(skip_slow=False))],
)
def test_nothing_to_quantise_is_not_applicable(resnet, context, tmp_path, module, config):
    rows = Rows({"x": np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)})
    graph = helper.make_graph(
        [helper.make_node("Softmax", ["x"], ["y"], name="softmax")],
        "softmax",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, tmp_path / "softmax.onnx")
    given = context(resnet, splits=Splits(rows, rows, rows))
    with pytest.raises(NotApplicable, match="nothing to quantise"):
        module.run(config, OnnxModel(tmp_path / "softmax.onnx", signature_of(model)), given)


def test_types_name_what_the_quantisers_are_told():
    assert choose("u8u8", _VNNI, "cpu").weights is QuantType.QUInt8
    assert choose("s8s8", _VNNI, "cpu").activations is QuantType.QInt8
