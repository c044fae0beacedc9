import pytest
import torch
from torch import nn

from optimizer.errors import NotApplicable
from optimizer.intake import architecture
from optimizer.intake.predictor import answers_of, predictor_of, tensors_of
from optimizer.passes import export, low_rank
from optimizer.passes.weight_layers import weight_layers
from optimizer.recipe.export import Export
from optimizer.recipe.low_rank import LowRank

_INTERMEDIATE = "bert.encoder.layer.0.intermediate.dense"


def _answers(model, rows):
    return answers_of(predictor_of(model), tensors_of(rows, model.inputs))


def _of_rank(model, rank):
    """The model with a feed-forward layer that really has this rank."""
    layer = model.network.get_submodule(_INTERMEDIATE)
    with torch.no_grad():
        left, values, right = torch.linalg.svd(layer.weight, full_matrices=False)
        layer.weight.copy_(left[:, :rank] * values[:rank] @ right[:rank])
    return model


@pytest.mark.parametrize("whiten", [True, False])
def test_a_layer_of_low_rank_becomes_two_with_the_same_answers(bert, context, whiten):
    told = context(bert)
    model = _of_rank(bert.load(), 6)
    before, parameters = _answers(model, bert.rows), model.parameters
    thin = low_rank.run(LowRank(energy=0.99999, whiten=whiten, round_to=1), model, told)
    first, second = thin.network.get_submodule(_INTERMEDIATE)
    assert (first.out_features, second.in_features) == (6, 6)
    assert thin.parameters <= parameters - 64 * 32 + 6 * (64 + 32)
    # Inputs that lie in a plane make further layers thin, but only their weights are not to tell so.
    assert whiten or "1 of 14 layers are two factors of low rank" in told.notes
    torch.testing.assert_close(_answers(thin, bert.rows), before, atol=1e-2, rtol=1e-3)


def test_whitening_keeps_the_answers_better_at_the_same_size(bert, context):
    intact = _answers(bert.load(), bert.rows)
    errors = []
    for whiten in (True, False):
        thin = low_rank.run(LowRank(budget=0.5, whiten=whiten, round_to=1), bert.load(), context(bert))
        errors.append(float((_answers(thin, bert.rows) - intact).square().mean()))
    assert errors[0] < errors[1]


def test_the_budget_is_kept(bert, context):
    told = context(bert)
    layers = sum(layer.weight.numel() for layer in weight_layers(bert.load().network).values())
    thin = low_rank.run(LowRank(budget=0.6, round_to=1), bert.load(), told)
    left = sum(layer.weight.numel() for layer in weight_layers(thin.network).values())
    assert 0.5 * layers < left <= 0.6 * layers
    (table,) = told.tables
    assert table.columns[3:5] == ("rank", "energy kept")
    assert all(0 < row[4] <= 1 and row[5] < 1 for row in table.rows)


def test_the_onnx_file_is_smaller_and_the_network_comes_back(bert, bert_onnx, context, tmp_path):
    told = context(bert)
    thin = low_rank.run(LowRank(budget=0.5), bert.load(), told)
    assert export.run(Export(), thin, told).path.stat().st_size < bert_onnx.path.stat().st_size - 20_000
    architecture.save(thin, tmp_path, bert.load)
    again = architecture.load(tmp_path, bert.load)
    assert torch.equal(_answers(again, bert.rows), _answers(thin, bert.rows))


def test_pointwise_convolutions_become_two(uneven, context):
    told = context(uneven)
    thin = low_rank.run(LowRank(energy=0.6, round_to=1, whiten=True), uneven.load(), told)
    pairs = [module for module in thin.network.modules() if type(module) is nn.Sequential and len(module) == 2]
    assert any(isinstance(pair[0], nn.Conv2d) and pair[1].kernel_size == (1, 1) for pair in pairs)
    assert thin.parameters < uneven.load().parameters


def test_full_rank_is_left_alone(bert, context):
    with pytest.raises(NotApplicable, match="allow less energy"):
        low_rank.run(LowRank(energy=0.9999999, whiten=False, round_to=32), bert.load(), context(bert))
