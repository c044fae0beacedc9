import pytest
import torch
from torch import nn

from optimizer.errors import NotApplicable
from optimizer.train.freezing import Freeze, body_of


def _convolutional():
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(2, 3))


def test_body_of_a_transformer_is_what_it_says(bert):
    network = bert.load().network
    body = set(body_of(network))
    assert network.bert in body
    assert network.bert.encoder in body
    assert network.classifier not in body
    assert network not in body


def test_last_layer_with_weights_is_the_head_of_any_other_network():
    network = _convolutional()
    assert set(body_of(network)) == set(network) - {network[3]}


def test_network_of_one_layer_has_no_body():
    with pytest.raises(NotApplicable, match="a body apart from its head"):
        body_of(nn.Sequential(nn.Flatten(), nn.Linear(2, 2)))


def test_body_stands_still_until_its_time_has_come():
    network = _convolutional()
    network[0].bias.requires_grad_(False)
    freeze = Freeze(network, 0.25)
    network.train()
    freeze.before_update(1, 8)
    assert not network[0].weight.requires_grad
    assert network[3].weight.requires_grad
    assert not network[1].training
    mean = network[1].running_mean.clone()
    network(torch.randn(4, 1, 3, 3))
    assert torch.equal(network[1].running_mean, mean)
    network.train()
    freeze.before_update(2, 8)
    assert network[0].weight.requires_grad
    assert network[1].training
    # Whoever fixed it before has not asked for it to learn.
    assert not network[0].bias.requires_grad
