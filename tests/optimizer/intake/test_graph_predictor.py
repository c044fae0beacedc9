import dataclasses

import numpy as np
import onnx
import pytest
import torch

from optimizer.artifact.graph_signature import signature_of
from optimizer.artifact.session import SessionSpec
from optimizer.errors import PassFailed
from optimizer.intake.graph_predictor import GraphPredictor
from optimizer.intake.predictor import answers_of, predictor_of, tensors_of
from optimizer.intake.stages import OnnxModel


def test_graph_answers_as_the_network_that_it_was_exported_from(bert, bert_onnx):
    model = bert.load()
    inputs = tuple(tensor[:9] for tensor in tensors_of(bert.rows, model.inputs))
    graph = GraphPredictor(bert_onnx, ["input_ids", "attention_mask"], SessionSpec())
    torch.testing.assert_close(answers_of(graph, inputs, batch=4), answers_of(predictor_of(model), inputs))
    backwards = GraphPredictor(bert_onnx, ["attention_mask", "input_ids"], SessionSpec())
    assert torch.equal(backwards(*reversed(inputs)), graph(*inputs))


def test_graph_without_a_batch_axis_is_asked_row_by_row(resnet, resnet_onnx, tmp_path):
    proto = onnx.load(resnet_onnx.path)
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    path = tmp_path / "single.onnx"
    onnx.save(proto, path)
    single = OnnxModel(path, signature_of(proto, {}))
    pictures = tensors_of(resnet.rows, resnet.load().inputs)[0][:3]
    many = GraphPredictor(resnet_onnx, ["pixel_values"], SessionSpec())(pictures)
    one = GraphPredictor(single, ["pixel_values"], SessionSpec())(pictures)
    np.testing.assert_allclose(one.numpy(), many.numpy(), rtol=1e-4, atol=1e-5)


def test_wrong_inputs_are_reported(resnet_onnx):
    graph = GraphPredictor(dataclasses.replace(resnet_onnx), ["pixel_values"], SessionSpec())
    with pytest.raises(PassFailed, match="does not run"):
        graph(torch.zeros(2, 3, 16, 16))
