import numpy as np
import pytest
import torch
from torch import nn

from optimizer.errors import PassFailed
from optimizer.intake.predictor import answers_of, predictor_of, tensors_of
from optimizer.passes import prune
from optimizer.recipe.prune import PruneStructured


def _widths(network):
    return {name: module.out_channels for name, module in network.named_modules() if isinstance(module, nn.Conv2d)}


@pytest.mark.parametrize("importance", ["magnitude", "taylor"])
def test_prune_halves_every_width_of_a_convolutional_network(resnet, context, importance):
    before = _widths(resnet.load().network)
    given = context(resnet)
    pruned = prune.run(PruneStructured(ratio=0.5, importance=importance), resnet.load(), given)
    assert _widths(pruned.network) == {name: width // 2 for name, width in before.items()}
    assert pruned.parameters < 0.3 * resnet.load().parameters
    answers = answers_of(predictor_of(pruned), tensors_of(resnet.rows.take(np.arange(9)), pruned.inputs))
    assert answers.shape == (9, 4)
    assert "convolutions are narrower" in " ".join(given.notes)


@pytest.mark.parametrize("kind", ["bert", "vit"])
def test_prune_cuts_heads_and_feed_forward_columns_of_a_transformer(kind, request, context):
    sample = request.getfixturevalue(kind)
    given = context(sample)
    pruned = prune.run(PruneStructured(ratio=0.5), sample.load(), given)
    assert "4 of 8 heads removed, 64 of 128 feed-forward columns removed" in given.notes
    heads = [
        module.num_attention_heads for module in pruned.network.modules() if hasattr(module, "num_attention_heads")
    ]
    assert heads == [2, 2]
    widths = {
        module.out_features
        for name, module in pruned.network.named_modules()
        if name.endswith(("intermediate.dense", "fc1"))
    }
    assert widths == {32}
    # The residual stream keeps its width.
    assert all(
        module.normalized_shape == (32,) for module in pruned.network.modules() if isinstance(module, nn.LayerNorm)
    )


def test_prune_leaves_what_the_config_leaves_out(bert, context):
    heads_only = prune.run(PruneStructured(ratio=0.5, ffn=False), bert.load(), context(bert))
    layer = heads_only.network.bert.encoder.layer[0]
    assert layer.intermediate.dense.out_features == 64
    assert layer.attention.self.num_attention_heads == 2


def test_prune_removes_the_heads_and_columns_that_do_nothing(bert, context):
    model = bert.load()
    dead_heads, dead_columns = [0, 2], list(range(0, 64, 2))
    with torch.no_grad():
        for layer in model.network.bert.encoder.layer:
            for head in dead_heads:
                rows = slice(8 * head, 8 * head + 8)
                layer.attention.output.dense.weight[:, rows] = 0
                for part in (layer.attention.self.query, layer.attention.self.key, layer.attention.self.value):
                    part.weight[rows] *= 1e-3
            layer.output.dense.weight[:, dead_columns] = 0
            layer.intermediate.dense.weight[dead_columns] *= 1e-3
    rows = tensors_of(bert.rows, model.inputs)
    before = answers_of(predictor_of(model), rows)
    pruned = prune.run(PruneStructured(ratio=0.5), model, context(bert))
    after = answers_of(predictor_of(pruned), rows)
    torch.testing.assert_close(after, before, atol=1e-4, rtol=1e-4)


def test_prune_says_so_when_nothing_can_be_cut(resnet, context):
    with pytest.raises(PassFailed, match=r"nothing could be pruned.*multiples of 64"):
        prune.run(PruneStructured(ratio=0.3, round_to=64), resnet.load(), context(resnet))


def test_prune_is_the_same_every_time(resnet, context):
    weights = [
        prune.run(PruneStructured(importance="taylor"), resnet.load(), context(resnet)).network.state_dict()
        for _ in range(2)
    ]
    for name, tensor in weights[0].items():
        torch.testing.assert_close(tensor, weights[1][name], atol=0, rtol=0)
