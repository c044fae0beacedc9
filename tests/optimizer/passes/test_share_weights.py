import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies
from hypothesis.extra.numpy import arrays

from optimizer.errors import InvalidRecipe, NotApplicable
from optimizer.passes import prune_magnitude, share_weights
from optimizer.passes.weight_layers import weight_layers
from optimizer.recipe.base import Stage
from optimizer.recipe.distill import Distill
from optimizer.recipe.export import Export
from optimizer.recipe.prune_magnitude import PruneMagnitude
from optimizer.recipe.recipe import Recipe, check_order
from optimizer.recipe.share_weights import ShareWeights


@pytest.mark.parametrize("bits", [4, 6])
def test_a_layer_has_as_many_values_as_its_codebook(bert, context, bits):
    told = context(bert)
    before = {name: layer.weight.detach().clone() for name, layer in weight_layers(bert.load().network).items()}
    model = share_weights.run(ShareWeights(bits=bits), bert.load(), told)
    layers = weight_layers(model.network)
    for name, _, values, error in told.tables[0].rows:
        weight = layers[name].weight.detach()
        assert values == len(weight.unique()) <= 2**bits
        assert error == pytest.approx(float((weight - before[name]).norm() / before[name].norm()), abs=1e-5)
        assert error < (0.15 if bits == 4 else 0.05)
    assert len(told.tables[0].rows) == (14 if bits == 4 else 13)
    after, size = (float(word) for word in told.notes[1].split() if word.replace(".", "").isdigit())
    assert after < 0.5 * size


def test_zeros_stay_zeros(resnet, context):
    model = prune_magnitude.run(PruneMagnitude(sparsity=0.6), resnet.load(), context(resnet))
    masks = {name: layer.weight == 0 for name, layer in weight_layers(model.network).items()}
    model = share_weights.run(ShareWeights(bits=4), model, context(resnet))
    for name, layer in weight_layers(model.network).items():
        assert (layer.weight[masks[name]] == 0).all()
        assert len(layer.weight.unique()) <= 16


def test_layers_too_small_for_a_codebook_are_left(bert, context):
    model = bert.load()
    for layer in weight_layers(model.network).values():
        layer.weight = torch.nn.Parameter(layer.weight[:1, :1])
    with pytest.raises(NotApplicable, match="codebook of 256 saves nothing"):
        share_weights.run(ShareWeights(bits=8), model, context(bert))


@settings(max_examples=25, deadline=None)
@given(arrays(np.float32, (40,), elements=strategies.floats(-1, 1, width=32)), strategies.integers(1, 4))
def test_every_weight_moves_to_the_nearest_value(weights, bits):
    rounded = share_weights.shared(weights, bits, seed=0)
    values = np.unique(rounded)
    assert len(values) <= 2**bits
    assert (rounded[weights == 0] == 0).all()
    nearest = np.abs(weights[:, None] - values[values != 0]).min(axis=1, initial=np.inf)
    moved = np.abs(weights - rounded)
    assert (moved <= nearest + 1e-6).all()


def test_training_may_not_follow():
    recipe = Recipe(name="wrong", steps=(ShareWeights(), Distill(), Export()))
    with pytest.raises(InvalidRecipe, match="`distill` cannot follow `share_weights`"):
        check_order(recipe, Stage.TORCH)
