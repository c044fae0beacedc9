import pytest
import torch
from hypothesis import given, strategies
from pydantic import ValidationError

from optimizer.errors import NotApplicable
from optimizer.intake.predictor import answers_of, predictor_of, tensors_of
from optimizer.passes import distill, prune_magnitude, sparsity
from optimizer.passes.weight_layers import weight_layers
from optimizer.recipe.distill import Distill
from optimizer.recipe.prune_magnitude import PruneMagnitude, PruneNM
from optimizer.recipe.training import Training


def _sparsities(model):
    return {name: float((layer.weight == 0).float().mean()) for name, layer in weight_layers(model.network).items()}


def _accuracy(model, rows):
    answers = answers_of(predictor_of(model), tensors_of(rows, model.inputs)).argmax(-1)
    return float((answers == torch.from_numpy(rows.labels)).float().mean())


def test_every_layer_gets_the_same_share_of_zeros(bert, context):
    told = context(bert)
    pruned = prune_magnitude.run(PruneMagnitude(sparsity=0.75, scope="layer"), bert.load(), told)
    for share in _sparsities(pruned).values():
        assert share == pytest.approx(0.75, abs=0.01)
    (table,) = told.tables
    assert (table.kind, table.columns[-1]) == ("sparsity", "sparsity")
    assert table.rows[0][-1] == 0.75


def test_over_all_layers_the_smallest_weights_go(resnet, context):
    before = {name: layer.weight.clone() for name, layer in weight_layers(resnet.load().network).items()}
    pruned = prune_magnitude.run(PruneMagnitude(sparsity=0.5), resnet.load(), context(resnet))
    layers = weight_layers(pruned.network)
    assert sparsity.sparsity_of(layers) == pytest.approx(0.5, abs=1e-4)
    gone = torch.cat([before[name][layer.weight == 0].abs() for name, layer in layers.items()])
    kept = torch.cat([layer.weight[layer.weight != 0].abs() for layer in layers.values()])
    assert gone.max() <= kept.min()
    shares = _sparsities(pruned).values()
    assert max(shares) - min(shares) > 0.1


def test_a_threshold_keeps_what_is_larger(bert, context):
    pruned = prune_magnitude.run(PruneMagnitude(threshold=0.02), bert.load(), context(bert))
    for layer in weight_layers(pruned.network).values():
        assert (layer.weight[layer.weight != 0].abs() > 0.02).all()
        assert (layer.weight == 0).any()


def test_the_compressed_weights_shrink_and_the_note_says_what_does_not(resnet, context):
    told = context(resnet)
    prune_magnitude.run(PruneMagnitude(sparsity=0.9), resnet.load(), told)
    note = next(note for note in told.notes if note.startswith("compressed"))
    assert "computes no faster" in note
    after, before = (float(word) for word in note.split() if word.replace(".", "").isdigit())
    assert after < 0.35 * before


def test_nothing_below_the_threshold_is_said(bert, context):
    with pytest.raises(NotApplicable, match=r"threshold of 1e-30 sets no weight to zero"):
        prune_magnitude.run(PruneMagnitude(threshold=1e-30), bert.load(), context(bert))


def test_gradual_pruning_learns_on_the_way_and_reaches_the_sparsity(resnet, context):
    once, gradual = context(resnet), context(resnet)
    at_once = prune_magnitude.run(PruneMagnitude(sparsity=0.8), resnet.load(), once)
    config = PruneMagnitude(sparsity=0.8, training=Training(epochs=4, learning_rate=3e-3))
    trained = prune_magnitude.run(config, resnet.load(), gradual)
    assert sparsity.sparsity_of(weight_layers(trained.network)) == pytest.approx(0.8, abs=1e-3)
    rows = gradual.splits.selection
    assert _accuracy(at_once, rows) < 0.8
    assert _accuracy(trained, rows) > 0.95
    assert [table.kind for table in gradual.tables] == ["training", "sparsity"]


def test_zeros_survive_a_later_training(resnet, context):
    model = prune_magnitude.run(PruneMagnitude(sparsity=0.8), resnet.load(), context(resnet))
    masks = {name: layer.weight == 0 for name, layer in weight_layers(model.network).items()}
    before = {name: layer.weight.clone() for name, layer in weight_layers(model.network).items()}
    taught = distill.run(Distill(epochs=1), model, context(resnet))
    for name, layer in weight_layers(taught.network).items():
        assert (layer.weight[masks[name]] == 0).all()
        assert not torch.equal(layer.weight, before[name])


def test_two_of_four_stay(bert, context):
    told = context(bert)
    model = prune_magnitude.run_n_m(PruneNM(training=Training(epochs=1)), bert.load(), told)
    for layer in weight_layers(model.network).values():
        groups = (layer.weight != 0).reshape(len(layer.weight), -1, 4).sum(-1)
        assert (groups <= 2).all()
        assert groups.float().mean() > 1.9
    assert "only sparse tensor cores (TensorRT on NVIDIA GPUs) run it faster" in told.notes[1]


def test_two_of_four_input_channels_of_a_convolution_stay(resnet, context):
    told = context(resnet)
    model = prune_magnitude.run_n_m(PruneNM(), resnet.load(), told)
    layers = weight_layers(model.network)
    # The picture has one channel, so the first convolution stays whole.
    assert told.notes[0].startswith(f"2:4 sparsity in {len(layers) - 1} of {len(layers)} layers")
    kernel = layers["resnet.encoder.stages.1.layers.1.layer.0.convolution"].weight
    assert ((kernel != 0).unflatten(1, (-1, 4)).sum(2) == 2).all()


def test_n_of_m_must_leave_something_out():
    with pytest.raises(ValidationError, match="n must be smaller than m"):
        PruneNM(n=4, m=4)


@given(start=strategies.floats(0, 0.5), end=strategies.floats(0.5, 1), share=strategies.floats(0, 0.99))
def test_the_ramp_rises_from_start_to_end(start, end, share):
    assert prune_magnitude.cubic(0, start, end) == pytest.approx(start)
    assert prune_magnitude.cubic(1, start, end) == pytest.approx(end)
    assert prune_magnitude.cubic(share, start, end) <= prune_magnitude.cubic(share + 0.01, start, end) + 1e-12
