import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from optimizer.artifact.rows import Rows
from optimizer.errors import InvalidCheckpoint, InvalidDataset, UnsupportedModel
from optimizer.intake import hf
from optimizer.intake.predictor import answers_of, predictor_of, tensors_of
from optimizer.intake.stages import Checkpoint


@pytest.fixture
def copied(resnet, tmp_path):
    """The residual network's files, free to be spoilt."""
    shutil.copytree(resnet.directory, tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


def _checkpoint(directory, inspection):
    return Checkpoint({path.name: path for path in directory.iterdir()}, inspection)


def _set(directory, **values):
    config = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(config | values))


def _weights(directory, change):
    weights = load_file(directory / "model.safetensors")
    save_file(change(weights), directory / "model.safetensors", metadata={"format": "pt"})


def test_network_answers_as_it_did_when_it_was_saved(resnet, bert):
    for sample in (resnet, bert):
        model = sample.load()
        answers = answers_of(predictor_of(model), tensors_of(sample.rows, model.inputs)).argmax(-1).numpy()
        assert (answers == sample.rows.labels).mean() > 0.9
        assert not model.network.training
        assert all(parameter.dtype == torch.float32 for parameter in model.network.parameters())


def test_inputs_come_in_the_order_of_the_data(bert):
    rows = bert.rows
    swapped = Rows({name: rows.arrays[name] for name in ("attention_mask", "input_ids")}, rows.labels)
    model = hf.load(bert.checkpoint, swapped)
    assert [spec.name for spec in model.inputs] == ["attention_mask", "input_ids"]
    expected = answers_of(predictor_of(bert.load()), tensors_of(rows, bert.load().inputs))
    torch.testing.assert_close(answers_of(predictor_of(model), tensors_of(rows, model.inputs)), expected)


def test_data_that_lacks_an_input_is_refused(bert):
    with pytest.raises(InvalidDataset, match="lacks the arrays input_ids"):
        hf.load(bert.checkpoint, Rows({"attention_mask": np.ones((4, 12), np.int64)}))


def test_missing_and_unexpected_weights_are_named(resnet, copied):
    def renamed(weights):
        weights["classifier.1.wait"] = weights.pop("classifier.1.weight")
        return weights

    _weights(copied, renamed)
    with pytest.raises(InvalidCheckpoint, match=r"1 missing weights \(classifier.1.weight\).*classifier.1.wait"):
        hf.load(_checkpoint(copied, resnet.checkpoint.inspection), resnet.rows)


def test_weights_of_another_shape_are_named(resnet, copied):
    def narrowed(weights):
        weights["classifier.1.weight"] = weights["classifier.1.weight"][:3].contiguous()
        return weights

    _weights(copied, narrowed)
    with pytest.raises(InvalidCheckpoint, match=r"1 weights of another shape \(classifier.1.weight\)"):
        hf.load(_checkpoint(copied, resnet.checkpoint.inspection), resnet.rows)


def test_weights_in_half_precision_are_read_as_32_bits(resnet, copied):
    def halved(weights):
        return {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in weights.items()}

    _weights(copied, halved)
    _set(copied, dtype="float16")
    model = hf.load(_checkpoint(copied, resnet.checkpoint.inspection), resnet.rows)
    assert {parameter.dtype for parameter in model.network.parameters()} == {torch.float32}


@pytest.mark.parametrize(
    "values",
    [
        {"auto_map": {"AutoConfig": "evil.Config"}},
        {"quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": True}},
    ],
)
def test_config_that_names_code_or_a_loader_is_refused(resnet, copied, values):
    _set(copied, **values)
    with pytest.raises(InvalidCheckpoint, match=f"config.json sets {next(iter(values))}, which is not allowed"):
        hf.load(_checkpoint(copied, resnet.checkpoint.inspection), resnet.rows)


def test_code_and_pickles_beside_the_weights_are_never_seen(resnet, copied):
    (copied / "modeling_evil.py").write_text("raise SystemExit('ran')")
    (copied / "pytorch_model.bin").write_bytes(b"\x80\x04cos\nsystem\n.")
    (copied / "adapter_config.json").write_text("{}")
    model = hf.load(_checkpoint(copied, resnet.checkpoint.inspection), resnet.rows)
    assert model.parameters == resnet.load().parameters


@pytest.mark.parametrize("model_type", ["llama4_text", "nothing", ""])
def test_architecture_without_a_classifier_is_unsupported(resnet, copied, model_type):
    _set(copied, model_type=model_type)
    with pytest.raises(UnsupportedModel, match=r"has no image classifier.*push the .onnx file"):
        hf.load(_checkpoint(copied, resnet.checkpoint.inspection), resnet.rows)


@pytest.mark.parametrize("values", [{"hidden_sizes": "wide"}, {"layer_type": "magic"}])
def test_config_that_describes_no_network_is_refused(resnet, copied, values):
    _set(copied, **values)
    with pytest.raises(InvalidCheckpoint):
        hf.load(_checkpoint(copied, resnet.checkpoint.inspection), resnet.rows)


def test_messages_name_no_path_of_this_host(resnet, copied, tmp_path):
    (copied / "model.safetensors").write_bytes(b"not weights")
    with pytest.raises(InvalidCheckpoint) as caught:
        hf.load(_checkpoint(copied, resnet.checkpoint.inspection), resnet.rows)
    assert str(tmp_path) not in str(caught.value)
    assert "/tmp" not in str(caught.value)
