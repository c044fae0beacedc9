import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from optimizer.errors import PassFailed, UnsupportedModel
from optimizer.intake.predictor import predictor_of
from optimizer.passes import export
from optimizer.recipe.export import Export


@pytest.mark.parametrize("kind", ["resnet", "bert", "vit"])
def test_export_answers_like_the_network_at_any_batch(kind, request):
    sample, exported = request.getfixturevalue(kind), request.getfixturevalue(f"{kind}_onnx")
    session = ort.InferenceSession(exported.path, providers=["CPUExecutionProvider"])
    model = sample.load()
    classifier = predictor_of(model)
    for batch in (1, 7, 13):
        arrays = {spec.name: sample.rows.arrays[spec.name][:batch] for spec in model.inputs}
        with torch.inference_mode():
            expected = classifier(*(torch.tensor(array) for array in arrays.values())).numpy()
        np.testing.assert_allclose(session.run(None, arrays)[0], expected, atol=1e-4)


def test_export_names_its_axes(resnet_onnx, bert_onnx):
    assert resnet_onnx.signature.inputs[0].shape == ("batch", 1, 16, 16)
    assert [spec.shape for spec in bert_onnx.signature.inputs] == [("batch", "sequence"), ("batch", "sequence")]
    assert [spec.name for spec in bert_onnx.signature.inputs] == ["input_ids", "attention_mask"]
    assert bert_onnx.signature.limits == {"sequence": 16}
    for model in (resnet_onnx, bert_onnx):
        assert [(spec.name, spec.shape) for spec in model.signature.outputs] == [("logits", ("batch", 4))]


def test_export_of_text_takes_other_lengths(bert_onnx):
    session = ort.InferenceSession(bert_onnx.path, providers=["CPUExecutionProvider"])
    for length in (1, 5, 16):
        feeds = {name: np.ones((3, length), np.int64) for name in ("input_ids", "attention_mask")}
        assert session.run(None, feeds)[0].shape == (3, 4)


@pytest.mark.parametrize("kind", ["resnet_onnx", "bert_onnx"])
def test_export_says_nothing_of_the_machine_it_ran_on(kind, request):
    path = request.getfixturevalue(kind).path
    model = onnx.load(path)
    assert not any(node.metadata_props or node.doc_string for node in model.graph.node)
    data = path.read_bytes()
    for trace in (b"site-packages", b".py", b"/home", b"/usr"):
        assert trace not in data


def test_export_refuses_an_operation_without_onnx_form(resnet, context):
    class Odd(torch.nn.Module):
        def forward(self, pixel_values):
            answer = torch.linalg.eigvals(pixel_values[:, 0]).real[:, :4]
            return type("Answer", (), {"logits": answer})

    model = resnet.load()
    odd = type(model)(Odd(), model.config, model.inputs, model.limits)
    with pytest.raises(UnsupportedModel, match="cannot be exported"):
        export.run(Export(), odd, context(resnet))


def test_export_refuses_a_graph_whose_batch_is_fixed(resnet, context):
    class Fixed(torch.nn.Module):
        def forward(self, pixel_values):
            return type("Answer", (), {"logits": pixel_values.reshape(2, -1)[:, :4]})

    model = resnet.load()
    fixed = type(model)(Fixed(), model.config, model.inputs, model.limits)
    with pytest.raises((PassFailed, UnsupportedModel)):
        export.run(Export(), fixed, context(resnet))
