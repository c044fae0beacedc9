import dataclasses

import pytest
import torch
from torch import nn

from optimizer.intake.predictor import Predictor
from optimizer.train.loop import fit
from optimizer.train.losses import task_loss
from optimizer.train.precision import choose, scaler_of
from optimizer.train.selection import Selection
from optimizer.train.settings import Settings

_X = torch.randn(24, 4, generator=torch.Generator().manual_seed(0))
_Y = (_X.sum(1) > 0).long()
_ROWS = torch.arange(24)


def _network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 2))


def _clock(seconds):
    """A clock by which passes in turn take so many seconds, over and over."""
    now, turn = 0.0, 0

    def clock():
        nonlocal now, turn
        if turn % 2:
            now += seconds[turn // 2 % len(seconds)]
        turn += 1
        return now

    return clock


def _choose(asked, seconds=(1.0, 1.0), network=None):
    objective = task_loss("classification", _Y)
    return choose(asked, network or _network(), objective, (_X,), _ROWS, "cpu", _clock(seconds))


def test_auto_takes_bf16_where_it_is_measured_to_be_faster():
    assert _choose("auto", (3.0, 2.0)) == (
        "bf16", "trained in bf16: bf16 was 1.50 times as fast as 32 bits in 3 trials on this processor",
    )  # fmt: skip


def test_auto_stays_with_32_bits_where_little_is_gained():
    precision, told = _choose("auto", (1.1, 1.0))
    assert precision == "fp32"
    assert "1.10 times as fast" in told


def test_what_is_asked_for_is_taken_where_it_can_be():
    assert _choose("none") == ("fp32", None)
    assert _choose("bf16")[0] == "bf16"
    assert _choose("fp16") == ("fp32", "trained in 32 bits: fp16 needs a GPU")


def test_trials_leave_the_network_and_the_random_state_alone():
    network = _network()
    before, random = {name: tensor.clone() for name, tensor in network.state_dict().items()}, torch.get_rng_state()
    _choose("auto", network=network)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert torch.equal(random, torch.get_rng_state())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert network.training


def test_only_fp16_needs_its_gradients_scaled():
    assert scaler_of("fp32") is None
    assert scaler_of("bf16") is None


class _Seen(nn.Module):
    def __init__(self):
        super().__init__()
        self.line = nn.Linear(4, 2)
        self.types = set()

    def forward(self, x):
        answer = self.line(x)
        if self.training:
            self.types.add(answer.dtype)
        return answer


@pytest.mark.parametrize(("precision", "dtype"), [("bf16", torch.bfloat16), ("none", torch.float32)])
def test_products_are_in_16_bits_and_weights_and_answers_in_32(precision, dtype):
    torch.manual_seed(0)
    network, answers_seen = _Seen(), set()
    objective = task_loss("classification", _Y)

    def watching(answers, rows):
        answers_seen.add(answers.dtype)
        return objective(answers, rows)

    settings = Settings(6, 0.05, 8, 0.0, 0.1, seed=0, threads=1)
    result = fit(
        Predictor(network, ["x"], calling="positional"), (_X,), watching, Selection((_X,), _Y),
        dataclasses.replace(settings, mixed_precision=precision), lambda *_: None,
    )  # fmt: skip
    assert network.types == {dtype}
    assert answers_seen == {torch.float32}
    assert network.line.weight.dtype == torch.float32
    assert result.score > 0.8
    assert len(result.notes) == (precision == "bf16")
