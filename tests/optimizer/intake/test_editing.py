import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from optimizer.errors import InvalidCheckpoint, UnsupportedModel
from optimizer.intake import architecture
from optimizer.intake.editing import apply, factors
from optimizer.intake.edits import AnotherConfig, Factorise, KeepLayers, NewHead, Share
from optimizer.intake.predictor import answers_of, predictor_of, tensors_of
from optimizer.intake.stages import TorchModel
from optimizer.passes import prune
from optimizer.recipe.prune import PruneStructured

_LAYERS = "bert.encoder.layer"


def _kept(model, directory, source):
    """The model as a later trial reads it."""
    directory.mkdir(exist_ok=True)
    architecture.save(model, directory, source)
    return architecture.load(directory, source)


def _assert_alike(one, other, sample):
    rows = tensors_of(sample.rows, one.inputs)
    torch.testing.assert_close(
        answers_of(predictor_of(other), rows), answers_of(predictor_of(one), rows), rtol=0, atol=0
    )
    assert other.parameters == one.parameters
    assert other.edits == one.edits


def test_a_layer_that_is_not_kept_is_gone(bert, tmp_path):
    model = bert.load()
    before, second = model.parameters, model.network.bert.encoder.layer[1]
    edited = apply(model, KeepLayers(module=_LAYERS, layers=(1,)))
    assert list(edited.network.bert.encoder.layer) == [second]
    assert edited.network.config.num_hidden_layers == 1
    assert edited.parameters == before - sum(weight.numel() for weight in second.parameters())
    _assert_alike(edited, _kept(edited, tmp_path, bert.load), bert)


def test_a_layer_becomes_two_of_low_rank(bert, tmp_path):
    edit = Factorise(ranks={f"{_LAYERS}.{index}.output.dense": 4 for index in range(2)})
    edited = apply(bert.load(), edit)
    first, second = edited.network.get_submodule(f"{_LAYERS}.1.output.dense")
    assert (first.in_features, first.out_features, second.out_features) == (64, 4, 32)
    _assert_alike(edited, _kept(edited, tmp_path, bert.load), bert)


def test_shared_layers_stay_shared(bert, tmp_path):
    edited = apply(bert.load(), Share(modules=(f"{_LAYERS}.0", f"{_LAYERS}.1")))
    again = _kept(edited, tmp_path, bert.load)
    _assert_alike(edited, again, bert)
    assert again.network.bert.encoder.layer[0] is again.network.bert.encoder.layer[1]


def test_a_new_head_answers_more_classes(bert, tmp_path):
    edited = apply(bert.load(), NewHead(module="classifier", outputs=7))
    again = _kept(edited, tmp_path, bert.load)
    _assert_alike(edited, again, bert)
    assert answers_of(predictor_of(again), tensors_of(bert.rows, again.inputs)).shape[1] == 7


def test_another_config_needs_no_checkpoint_to_be_rebuilt(bert, tmp_path):
    model = bert.load()
    config = dict(model.config) | {"num_hidden_layers": 1, "hidden_size": 16, "num_attention_heads": 2}
    edited = apply(apply(model, NewHead(module="classifier", outputs=7)), AnotherConfig(config=config, kind="text"))
    assert [edit.edit for edit in edited.edits] == ["another_config"]
    assert edited.config["hidden_size"] == 16

    def never():
        raise AssertionError("a student of another config has nothing of the checkpoint")

    _assert_alike(edited, _kept(edited, tmp_path, never), bert)


def test_edits_pruning_and_further_edits_come_back_in_their_order(bert, tmp_path, context):
    model = apply(bert.load(), KeepLayers(module=_LAYERS, layers=(0,)))
    model = apply(model, Factorise(ranks={f"{_LAYERS}.0.attention.output.dense": 6}))
    model = _kept(prune.run(PruneStructured(ratio=0.5), model, context(bert)), tmp_path / "one", bert.load)
    model = apply(model, Factorise(ranks={f"{_LAYERS}.0.output.dense": 5}))
    again = _kept(model, tmp_path / "two", bert.load)
    _assert_alike(model, again, bert)
    assert again.network.get_submodule(f"{_LAYERS}.0.output.dense.0").in_features == 32


def test_tied_weights_stay_tied_when_their_size_changes():
    class Tied(nn.Module):
        def __init__(self, width=8):
            super().__init__()
            self.embed, self.out = nn.Embedding(5, width), nn.Linear(width, 5, bias=False)
            self.out.weight = self.embed.weight

    resized = Tied()
    architecture.resize(resized, architecture.changes(Tied(), Tied(6)))
    assert resized.out.weight is resized.embed.weight
    assert resized.out.in_features == 6


@pytest.mark.parametrize(
    ("layer", "shape"),
    [
        (nn.Linear(6, 8), (3, 6)),
        (nn.Linear(6, 8, bias=False), (3, 6)),
        (Conv1D(8, 6), (3, 6)),
        (nn.Conv2d(6, 8, 1, stride=2), (3, 6, 5, 5)),
    ],
)
def test_factors_stand_where_the_layer_was(layer, shape):
    two = factors(layer, "here", 2)
    assert two(torch.randn(shape)).shape == layer(torch.randn(shape)).shape


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (KeepLayers(module="bert.encoder", layers=(0,)), "is no list of layers"),
        (KeepLayers(module=_LAYERS, layers=(0, 2)), "has 2 layers"),
        (KeepLayers(module=_LAYERS, layers=(1, 0)), "in order"),
        (Factorise(ranks={"bert.embeddings.LayerNorm": 2}), "no linear layer"),
        (Factorise(ranks={"bert.nowhere": 2}), "no part 'bert.nowhere'"),
        (NewHead(module="bert", outputs=2), "no linear layer"),
    ],
)
def test_what_cannot_be_edited_is_named(bert, edit, reason):
    with pytest.raises(UnsupportedModel, match=reason):
        apply(bert.load(), edit)


def test_a_config_of_nothing_is_refused(bert):
    with pytest.raises(InvalidCheckpoint):
        apply(bert.load(), AnotherConfig(config={"model_type": "bert", "hidden_size": "wide"}, kind="text"))


def test_a_network_without_a_config_is_kept_too(tmp_path, bert):
    def source():
        torch.manual_seed(0)
        body = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU())
        return TorchModel(nn.Sequential(body, nn.Linear(8, 3)), {}, (), {}, calling="positional")

    model = apply(source(), KeepLayers(module="0", layers=(0, 1)))
    again = _kept(model, tmp_path, source)
    rows = torch.randn(5, 4)
    torch.testing.assert_close(again.network(rows), model.network(rows), rtol=0, atol=0)
    assert again.calling == "positional"
