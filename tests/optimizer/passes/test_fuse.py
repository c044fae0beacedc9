import numpy as np
import onnx
import onnxruntime as ort
import pytest

from optimizer.errors import NotApplicable
from optimizer.passes import fuse
from optimizer.recipe.fuse import Fuse


def test_fuse_joins_attention_normalisation_and_gelu_of_an_encoder(bert, bert_onnx, context):
    given = context(bert)
    fused = fuse.run(Fuse(), bert_onnx, given)
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
