from dataclasses import replace

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper

from optimizer.artifact.session import SessionSpec
from optimizer.errors import NotApplicable
from optimizer.metrics.intervals import Interval
from optimizer.passes import fuse
from optimizer.passes.apart import take_apart
from optimizer.recipe.fuse import Fuse


def test_fuse_joins_attention_normalisation_and_gelu_of_an_encoder(bert, bert_onnx, context):
    given = context(bert)
    fused = fuse.run(Fuse(sums="joined"), bert_onnx, given)
    operators = [node.op_type for node in onnx.load(fused.path).graph.node]
    assert operators.count("Attention") + operators.count("MultiHeadAttention") == 2
    assert operators.count("SkipLayerNormalization") == 4
    assert operators.count("BiasGelu") == 2
    assert "2 attention" in given.notes[0]
    assert fused.signature == bert_onnx.signature
    arrays = {name: bert.rows.arrays[name][:20] for name in ("input_ids", "attention_mask")}
    before, after = (
        ort.InferenceSession(model.path, providers=["CPUExecutionProvider"]).run(None, arrays)[0]
        for model in (bert_onnx, fused)
    )
    np.testing.assert_allclose(after, before, atol=1e-4)


def test_fuse_does_not_apply_to_a_convolutional_network(resnet, resnet_onnx, context):
    with pytest.raises(NotApplicable, match="nothing in this graph can be fused"):
        fuse.run(Fuse(), resnet_onnx, context(resnet))


def test_fuse_leaves_sums_apart(bert, bert_onnx, context):
    given = context(bert)
    fused = fuse.run(Fuse(sums="apart"), bert_onnx, given)
    operators = [node.op_type for node in onnx.load(fused.path).graph.node]
    assert operators.count("SkipLayerNormalization") == operators.count("BiasGelu") == 0
    # One normalisation follows the embeddings, the sums of two layers four.
    assert operators.count("LayerNormalization") == 5
    assert operators.count("Sum") == 4
    assert "6 sums stay apart" in given.notes[0]
    assert given.notes[1] == "fused 2 attention, 2 mha2, 2 mha_bias, 2 sdpa"


def test_sums_stay_apart_in_the_session_too(bert, bert_onnx, context, tmp_path):
    fused = fuse.run(Fuse(sums="apart"), bert_onnx, context(bert))
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.log_severity_level = 3
    ort.InferenceSession(fused.path, options, providers=["CPUExecutionProvider"])
    assert all(node.op_type != "SkipLayerNormalization" for node in onnx.load(tmp_path / "optimised.onnx").graph.node)


def test_fuse_measures_which_form_of_sums_is_faster(bert, bert_onnx, context, monkeypatch):
    for low, expected in ((0.9, 4), (1.1, 0)):
        monkeypatch.setattr(fuse, "times_faster", lambda *_, low=low: Interval(1.2, low, 1.5))
        fused = fuse.run(Fuse(), bert_onnx, context(bert, directory=str(low)))
        operators = [node.op_type for node in onnx.load(fused.path).graph.node]
        assert operators.count("SkipLayerNormalization") == expected


def test_a_gpu_gets_joined_sums(bert, bert_onnx, context, monkeypatch):
    """Nothing is measured there; the session of this test still has only the CPU's provider."""
    monkeypatch.setattr(fuse, "times_faster", None)
    given = context(bert)
    assert not fuse._faster_apart(
        onnx.load(bert_onnx.path), bert_onnx, replace(given, session=SessionSpec(target="cuda"))
    )


def test_matrices_of_fused_attention_are_constants(bert, bert_onnx, context):
    proto = onnx.load(fuse.run(Fuse(), bert_onnx, context(bert)).path)
    constants = {tensor.name for tensor in proto.graph.initializer}
    attention = [node for node in proto.graph.node if node.op_type == "Attention"]
    assert len(attention) == 2
    assert all(node.input[1] in constants for node in attention)


def test_sums_of_graphs_from_before_layer_normalisation_stay_joined():
    node = helper.make_node("SkipLayerNormalization", ["a", "b", "c"], ["d"], domain="com.microsoft")
    for opset, count in ((16, 0), (17, 1)):
        graph = helper.make_graph([node], "g", [], [])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
        assert take_apart(model) == count
        assert len(model.graph.node) == 1 + count


def test_the_sum_that_a_later_layer_reads_keeps_its_name():
    node = helper.make_node(
        "SkipLayerNormalization", ["a", "b", "c", "d", "e"], ["n", "", "", "s"], "x", domain="com.microsoft"
    )
    model = helper.make_model(helper.make_graph([node], "g", [], []), opset_imports=[helper.make_opsetid("", 20)])
    assert take_apart(model) == 1
    total, norm = model.graph.node
    assert (list(total.input), list(total.output)) == (["a", "b", "e"], ["s"])
    assert (list(norm.input), list(norm.output)) == (["s", "c", "d"], ["n"])
