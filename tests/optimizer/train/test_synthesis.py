import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from optimizer.errors import NotApplicable
from optimizer.intake.predictor import Predictor, predictor_of
from optimizer.train import synthesis


def _statistics(predictor, pictures):
    """Distance from the remembered statistics, layer by layer."""
    distances = []
    handles = [
        module.register_forward_pre_hook(synthesis._distance(distances))
        for module in predictor.modules()
        if isinstance(module, nn.BatchNorm2d)
    ]
    with torch.no_grad():
        predictor.eval()(pictures)
    for handle in handles:
        handle.remove()
    return float(torch.stack(distances).mean())


def test_pictures_look_to_the_network_as_what_it_was_trained_on(resnet):
    predictor = predictor_of(resnet.load())
    before = {name: tensor.clone() for name, tensor in predictor.state_dict().items()}
    made = synthesis.pictures(predictor, (1, 16, 16), 70, seed=1, classes=True, steps=30)
    assert made.shape == (70, 1, 16, 16)
    noise = torch.randn(70, 1, 16, 16, generator=torch.Generator().manual_seed(1))
    assert _statistics(predictor, made) < 0.5 * _statistics(predictor, noise)
    said = predictor(made).argmax(-1).bincount(minlength=4)
    assert int(said.min()) >= 8
    assert int(predictor(noise).argmax(-1).bincount(minlength=4).min()) < 4
    assert all(torch.equal(tensor, before[name]) for name, tensor in predictor.state_dict().items())
    assert all(parameter.requires_grad for parameter in predictor.parameters())
    assert not any(module._forward_pre_hooks for module in predictor.modules())


def test_same_seed_makes_the_same_pictures(resnet):
    predictor = predictor_of(resnet.load())
    first, second, other = (
        synthesis.pictures(predictor, (1, 16, 16), 4, seed=seed, classes=True, steps=2) for seed in (1, 1, 2)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


def test_network_that_remembers_nothing_is_refused():
    plain = Predictor(
        nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2, track_running_stats=False)), (), calling="positional"
    )
    with pytest.raises(NotApplicable, match="no batch normalisation"):
        synthesis.pictures(plain, (1, 4, 4), 2, seed=0, classes=False)


@given(st.integers(1, 30), st.integers(1, 12), st.integers(2, 50), st.integers(0, 99), st.booleans())
def test_tokens_are_words_of_the_vocabulary(count, length, vocabulary, seed, from_real):
    real = torch.arange(3 * length).reshape(3, length) % vocabulary if from_real else None
    made = synthesis.tokens(real, length, count, vocabulary, seed)
    assert made.shape == (count, length)
    assert made.dtype == torch.int64
    assert int(made.min()) >= 0
    assert int(made.max()) < vocabulary
    if real is not None:
        assert set(made[:, 0].tolist()) <= set(real[:, 0].tolist())


def test_mixes_range_from_real_rows_to_noise():
    real = torch.zeros(2, 100, dtype=torch.int64)
    made = synthesis.tokens(real, 100, 200, 1000, seed=0)
    shares = (made == 0).float().mean(1)
    assert float(shares.min()) < 0.6
    assert float(shares.max()) > 0.95
