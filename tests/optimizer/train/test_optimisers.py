import dataclasses

import pytest
import torch
from torch import nn

from optimizer.train.optimisers import optimiser_of, penalty, set_rate
from optimizer.train.settings import Settings

_SETTINGS = Settings(1, 0.1, 8, 0.05, 0.0, seed=0, threads=1)


class _Encoder(nn.Module):
    def __init__(self):
        super().__init__()
        self.embeddings = nn.Embedding(5, 4)
        self.layer = nn.ModuleList([nn.Linear(4, 4) for _ in range(3)])
        self.norm = nn.LayerNorm(4)
        self.head = nn.Linear(4, 2)


def _group_of(optimiser, parameter):
    (group,) = [group for group in optimiser.param_groups if any(p is parameter for p in group["params"])]
    return group


@pytest.mark.parametrize(
    ("name", "kind"), [("sgd", torch.optim.SGD), ("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)]
)
def test_optimiser_is_the_one_asked_for_and_has_every_parameter_once(name, kind):
    network, projection = _Encoder(), nn.Linear(4, 8)
    optimiser = optimiser_of(network, projection, dataclasses.replace(_SETTINGS, optimiser=name, momentum=0.8))
    assert type(optimiser) is kind
    held = [id(parameter) for group in optimiser.param_groups for parameter in group["params"]]
    wanted = [id(parameter) for module in (network, projection) for parameter in module.parameters()]
    assert sorted(held) == sorted(wanted)
    if name == "sgd":
        assert all(group["momentum"] == 0.8 for group in optimiser.param_groups)


def test_matrices_decay_and_biases_and_normalisations_do_not():
    network = _Encoder()
    optimiser = optimiser_of(network, None, _SETTINGS)
    assert _group_of(optimiser, network.head.weight)["weight_decay"] == 0.05
    for parameter in (network.head.bias, network.norm.weight, network.norm.bias):
        assert _group_of(optimiser, parameter)["weight_decay"] == 0


def test_lower_layers_learn_slower_where_that_is_asked():
    network = _Encoder()
    optimiser = optimiser_of(network, None, dataclasses.replace(_SETTINGS, layer_decay=0.5))
    set_rate(optimiser, 0.8)
    rates = [
        _group_of(optimiser, module.weight)["lr"]
        for module in (network.head, network.layer[2], network.layer[1], network.layer[0], network.embeddings)
    ]
    assert rates == pytest.approx([0.8, 0.4, 0.2, 0.1, 0.05])


def test_elastic_net_counts_weights_and_leaves_biases_alone():
    line = nn.Linear(2, 1)
    with torch.no_grad():
        line.weight.copy_(torch.tensor([[3.0, -4.0]]))
        line.bias.fill_(100.0)
    assert penalty(line.parameters(), 0.1, 0.0).item() == pytest.approx(0.7)
    assert penalty(line.parameters(), 0.0, 0.1).item() == pytest.approx(2.5)
    assert penalty(line.parameters(), 0.1, 0.1).item() == pytest.approx(3.2)
    assert penalty(line.parameters(), 0.0, 0.0) is None
