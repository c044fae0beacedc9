"""Structured pruning beyond one ratio everywhere: costs measured, in steps, and of networks of every kind."""

import dataclasses

import numpy as np
import pytest
import torch
import transformers
from hypothesis import given, strategies
from torch import nn

from optimizer.artifact.rows import Rows
from optimizer.artifact.signature import TensorSpec
from optimizer.errors import UnsupportedModel
from optimizer.intake import architecture
from optimizer.intake.predictor import answers_of, predictor_of, tensors_of
from optimizer.intake.stages import EMBEDDING, TorchModel
from optimizer.passes import prune
from optimizer.passes.allocation import TRIED, Cost, allocate
from optimizer.passes.context import References, Splits
from optimizer.recipe.prune import PruneStructured
from optimizer.recipe.training import Training


def _answers(model, rows):
    return answers_of(predictor_of(model), tensors_of(rows, model.inputs))


def _accuracy(model, rows):
    return float((_answers(model, rows).argmax(-1) == torch.from_numpy(rows.labels)).float().mean())


def _given(context, sample, model, rows, task="classification"):
    """A pass's context for a network that is no sample's."""
    return context(sample, task=task, splits=Splits(rows, rows, rows), references=References(lambda: model))


def _convolutions(network):
    return {name: module.out_channels for name, module in network.named_modules() if isinstance(module, nn.Conv2d)}


_COSTS = strategies.dictionaries(
    strategies.text(min_size=1, max_size=3),
    strategies.builds(
        lambda weights, steps: Cost(weights, tuple(np.cumsum(steps).tolist())),
        strategies.floats(1, 1e6),
        strategies.lists(strategies.floats(0, 1), min_size=4, max_size=4),
    ),
    min_size=1,
    max_size=6,
)


@given(costs=_COSTS, ratio=strategies.floats(0.05, 0.85))
def test_as_many_weights_go_as_at_the_same_ratio_everywhere(costs, ratio):
    ratios = allocate(costs, ratio)
    total = sum(cost.weights for cost in costs.values())
    saved = sum(ratios[name] * cost.weights for name, cost in costs.items())
    assert all(0 <= value <= TRIED[-1] + 1e-9 for value in ratios.values())
    assert ratio * total - 1e-6 * total <= saved <= ratio * total + 0.051 * total


def test_what_costs_nothing_goes_first():
    free, dear = Cost(100.0, (0.0, 0.0, 0.0, 0.0)), Cost(100.0, (1.0, 2.0, 3.0, 4.0))
    assert allocate({"free": free, "dear": dear}, 0.4) == {"free": 0.8, "dear": 0.0}


def _with_idle_columns(bert):
    """The encoder, in which the first layer's feed-forward part does nothing."""
    model = bert.load()
    with torch.no_grad():
        model.network.bert.encoder.layer[0].output.dense.weight.zero_()
    return model


def test_the_layer_that_does_nothing_gives_most(bert, context):
    told = context(bert)
    config = PruneStructured(ratio=0.4, allocation="sensitivity", heads=False)
    pruned = prune.run(config, _with_idle_columns(bert), told)
    first, second = (layer.intermediate.dense.out_features for layer in pruned.network.bert.encoder.layer)
    assert first < second
    assert first + second == pytest.approx(0.6 * 128, abs=16)
    (table,) = told.tables
    assert (table.kind, table.columns[1]) == ("sensitivity", "divergence without half")
    assert [row[0] for row in table.rows] == [
        f"network.bert.encoder.layer.{index}.intermediate.dense" for index in (0, 1)
    ]
    assert table.rows[0][1] == pytest.approx(0, abs=1e-7)
    assert table.rows[1][1] > 1e-5


def test_measured_costs_of_channels_shape_a_convolutional_network(resnet, context):
    told = context(resnet)
    before = _convolutions(resnet.load().network)
    pruned = prune.run(PruneStructured(allocation="sensitivity", round_to=4), resnet.load(), told)
    shares = {1 - width / before[name] for name, width in _convolutions(pruned.network).items()}
    assert len(shares) > 1
    assert pruned.parameters < 0.6 * resnet.load().parameters
    assert {row[2] for row in told.tables[0].rows} == {"channels"}


def test_hidden_units_are_as_good_as_gone(resnet, context):
    """Hiding is how costs are measured, so it must foretell the answers after the cut."""
    from optimizer.passes.structures import score_layers, structures_of

    model = resnet.load()
    predictor = predictor_of(model).eval()
    rows = tensors_of(resnet.rows, model.inputs)
    example = tuple(tensor[:2] for tensor in rows)
    structures = structures_of(PruneStructured(), predictor, example, score_layers(predictor, 4))
    for structure in structures:
        with structure.hidden([0, 3]):
            hidden = answers_of(predictor, rows)
        structure.cut([0, 3])
        torch.testing.assert_close(answers_of(predictor, rows), hidden, atol=1e-4, rtol=1e-4)


def test_measured_importance_finds_the_heads_that_do_nothing(bert, context):
    model = bert.load()
    with torch.no_grad():
        for layer in model.network.bert.encoder.layer:
            # Two heads with large weights of which nothing is read.
            layer.attention.self.value.weight[:16] *= 20
            layer.attention.output.dense.weight[:, :16] = 0
    before = _answers(model, bert.rows)
    pruned = prune.run(PruneStructured(importance="measured", ffn=False), model, context(bert))
    torch.testing.assert_close(_answers(pruned, bert.rows), before, atol=1e-4, rtol=1e-4)


def test_cutting_in_steps_with_training_between_them_keeps_the_answers(resnet, context):
    told, plain = context(resnet), context(resnet)
    at_once = prune.run(PruneStructured(ratio=0.75), resnet.load(), plain)
    config = PruneStructured(ratio=0.75, steps=3, training=Training(epochs=6, learning_rate=3e-3))
    gradual = prune.run(config, resnet.load(), told)
    assert _convolutions(gradual.network) == _convolutions(at_once.network)
    rows = told.splits.selection
    assert _accuracy(at_once, rows) < 0.7
    assert _accuracy(gradual, rows) > 0.9
    assert [table.kind for table in told.tables] == ["training"] * 3


@pytest.mark.parametrize("ratio", [0.3, 0.5])
def test_odd_widths_can_be_cut_again(resnet, context, ratio):
    odd = prune.run(PruneStructured(ratio=0.35, round_to=1), resnet.load(), context(resnet))
    assert any(width % 8 for width in _convolutions(odd.network).values())
    before = odd.parameters
    again = prune.run(PruneStructured(ratio=ratio), odd, context(resnet))
    assert again.parameters < before
    assert all(width % 8 == 0 and width for width in _convolutions(again.network).values())


@pytest.mark.parametrize("importance", ["magnitude", "taylor"])
@pytest.mark.parametrize("task", ["classification", "regression", "multilabel", "binary"])
def test_plain_networks_of_every_task_lose_columns(bert, context, tmp_path, task, importance):
    outputs = {"classification": 3, "regression": 1, "multilabel": 4, "binary": 1}[task]

    def source():
        torch.manual_seed(0)
        network = nn.Sequential(
            nn.Linear(6, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Linear(32, 24), nn.ReLU(), nn.Linear(24, outputs)
        )
        spec = TensorSpec(name="features", datatype="FP32", shape=("batch", 6))
        return TorchModel(network.eval(), {}, (spec,), {}, calling="positional")

    random = np.random.default_rng(0)
    labels = {
        "classification": random.integers(0, 3, 40),
        "regression": random.normal(size=40).astype(np.float32),
        "multilabel": random.integers(0, 2, (40, 4)),
        "binary": random.integers(0, 2, 40),
    }[task]
    rows = Rows({"features": random.normal(size=(40, 6)).astype(np.float32)}, labels)
    told = _given(context, bert, source(), rows, task)
    pruned = prune.run(PruneStructured(ratio=0.5, importance=importance), source(), told)
    assert [layer.out_features for layer in pruned.network if isinstance(layer, nn.Linear)] == [16, 16, outputs]
    architecture.save(pruned, tmp_path, source)
    assert torch.equal(_answers(architecture.load(tmp_path, source), rows), _answers(pruned, rows))


@pytest.mark.parametrize("labelled", [True, False])
def test_token_classifiers_are_cut_by_gradients_of_their_tokens(bert, context, labelled):
    torch.manual_seed(0)
    network = transformers.BertForTokenClassification(
        transformers.BertConfig(
            vocab_size=40, hidden_size=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=64,
            max_position_embeddings=16, num_labels=5,
        )
    )  # fmt: skip
    model = dataclasses.replace(bert.load(), network=network.eval())
    tags = np.random.default_rng(0).integers(0, 5, (40, 12))
    tags[:, 8:] = -100
    rows = dataclasses.replace(bert.rows.take(np.arange(40)), labels=tags if labelled else None)
    told = _given(context, bert, model, rows, "token_classification")
    pruned = prune.run(PruneStructured(importance="taylor"), model, told)
    assert "2 of 4 heads removed, 32 of 64 feed-forward columns removed" in told.notes
    assert _answers(pruned, rows).shape == (40, 12, 5)


def test_embeddings_keep_their_width(bert, context):
    model = bert.load()
    model = dataclasses.replace(model, network=model.network.bert, output=EMBEDDING)
    told = context(bert, task="embedding")
    pruned = prune.run(PruneStructured(importance="taylor"), model, told)
    assert "4 of 8 heads removed, 64 of 128 feed-forward columns removed" in told.notes
    assert _answers(pruned, bert.rows).shape == (400, 32)


@pytest.fixture
def gpt(bert):
    """A small decoder as a classifier of the texts."""

    def source():
        torch.manual_seed(0)
        config = transformers.GPT2Config(
            vocab_size=40, n_embd=32, n_layer=2, n_head=4, n_positions=16, num_labels=4, pad_token_id=0,
            use_cache=False, attn_implementation="eager",
        )  # fmt: skip
        network = transformers.GPT2ForSequenceClassification(config)
        return dataclasses.replace(bert.load(), network=network.eval())

    return source


@pytest.mark.parametrize("importance", ["magnitude", "taylor", "measured"])
def test_heads_and_columns_of_gpt2_go(gpt, bert, context, tmp_path, importance):
    told = context(bert)
    pruned = prune.run(PruneStructured(importance=importance), gpt(), told)
    assert "4 of 8 heads removed, 128 of 256 feed-forward columns removed" in told.notes
    block = pruned.network.transformer.h[1]
    assert block.attn.num_heads == 2
    assert block.attn.c_attn.weight.shape == (32, 48)
    assert block.mlp.c_proj.weight.shape == (64, 32)
    architecture.save(pruned, tmp_path, gpt)
    again = architecture.load(tmp_path, gpt)
    assert torch.equal(_answers(again, bert.rows), _answers(pruned, bert.rows))


def test_heads_of_gpt2_that_do_nothing_go_first(gpt, bert, context):
    model = gpt()
    with torch.no_grad():
        for block in model.network.transformer.h:
            block.attn.c_proj.weight[8:24] = 0
            block.attn.c_attn.weight[:, 64 + 8 : 64 + 24] *= 1e-3
            block.attn.c_attn.weight[:, 8:24] *= 1e-3
            block.attn.c_attn.weight[:, 32 + 8 : 32 + 24] *= 1e-3
            block.mlp.c_proj.weight[::2] = 0
            block.mlp.c_fc.weight[:, ::2] *= 1e-3
    before = _answers(model, bert.rows)
    pruned = prune.run(PruneStructured(), model, context(bert))
    torch.testing.assert_close(_answers(pruned, bert.rows), before, atol=1e-4, rtol=1e-4)


def test_a_network_of_sound_loses_heads_and_columns(bert, context):
    torch.manual_seed(0)
    config = transformers.Wav2Vec2Config(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, conv_dim=(16, 16),
        conv_kernel=(10, 3), conv_stride=(5, 2), num_feat_extract_layers=2, num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=2, num_labels=4, classifier_proj_size=16, attn_implementation="eager",
    )  # fmt: skip
    network = transformers.Wav2Vec2ForSequenceClassification(config).eval()
    spec = TensorSpec(name="input_values", datatype="FP32", shape=("batch", 400))
    model = TorchModel(network, {"model_type": "wav2vec2"}, (spec,), {})
    random = np.random.default_rng(0)
    rows = Rows({"input_values": random.normal(size=(16, 400)).astype(np.float32)}, random.integers(0, 4, 16))
    told = _given(context, bert, model, rows)
    pruned = prune.run(PruneStructured(), model, told)
    assert "4 of 8 heads removed, 64 of 128 feed-forward columns removed" in told.notes
    assert _answers(pruned, rows).shape == (16, 4)


def test_a_network_that_cannot_be_followed_is_named(bert, context):
    class Reads(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = nn.Linear(6, 16), nn.Linear(16, 3)

        def forward(self, rows):
            return self.second(torch.relu(self.first(rows)).view(len(rows), 16))

    spec = TensorSpec(name="features", datatype="FP32", shape=("batch", 6))
    model = TorchModel(Reads(), {}, (spec,), {}, calling="positional")
    rows = Rows({"features": np.zeros((8, 6), np.float32)}, np.zeros(8, np.int64))
    with pytest.raises(UnsupportedModel, match="'Reads' network does not run once it is changed"):
        prune.run(PruneStructured(), model, _given(context, bert, model, rows))
