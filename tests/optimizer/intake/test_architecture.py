import json

import pytest
import torch

from optimizer.intake import architecture
from optimizer.intake.predictor import answers_of, predictor_of, tensors_of
from optimizer.passes import prune
from optimizer.recipe.prune import PruneStructured


@pytest.fixture(params=["resnet", "bert", "vit"])
def sample(request):
    return request.getfixturevalue(request.param)


def _assert_equal(one, other, sample):
    weights, others = one.network.state_dict(), other.network.state_dict()
    assert weights.keys() == others.keys()
    for name, tensor in weights.items():
        torch.testing.assert_close(others[name], tensor, rtol=0, atol=0)
    assert (other.inputs, dict(other.limits), other.config) == (one.inputs, dict(one.limits), one.config)
    rows = tensors_of(sample.rows, one.inputs)
    torch.testing.assert_close(
        answers_of(predictor_of(other), rows), answers_of(predictor_of(one), rows), rtol=0, atol=0
    )


def test_untouched_network_comes_back_exactly(sample, tmp_path):
    model = sample.load()
    architecture.save(model, tmp_path, sample.load)
    _assert_equal(model, architecture.load(tmp_path, sample.load), sample)
    assert json.loads((tmp_path / "architecture.json").read_text())["changes"] == {}


def test_pruned_network_comes_back_exactly(sample, tmp_path, context):
    model = prune.run(PruneStructured(ratio=0.5), sample.load(), context(sample))
    architecture.save(model, tmp_path, sample.load)
    again = architecture.load(tmp_path, sample.load)
    _assert_equal(model, again, sample)
    assert again.parameters < sample.load().parameters
    for name, module in model.network.named_modules():
        other = again.network.get_submodule(name)
        for key in (
            "in_features",
            "out_features",
            "in_channels",
            "out_channels",
            "num_features",
            "num_attention_heads",
        ):
            assert getattr(other, key, None) == getattr(module, key, None)


def test_network_pruned_twice_comes_back_exactly(sample, tmp_path, context):
    (tmp_path / "once").mkdir()
    (tmp_path / "twice").mkdir()
    once = prune.run(PruneStructured(ratio=0.25), sample.load(), context(sample))
    architecture.save(once, tmp_path / "once", sample.load)
    twice = prune.run(PruneStructured(ratio=0.5), architecture.load(tmp_path / "once", sample.load), context(sample))
    architecture.save(twice, tmp_path / "twice", sample.load)
    _assert_equal(twice, architecture.load(tmp_path / "twice", sample.load), sample)


def test_what_is_kept_is_json_and_safetensors(sample, tmp_path):
    architecture.save(sample.load(), tmp_path, sample.load)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["architecture.json", "model.safetensors"]
