import pytest
import torch
from torch import nn

from optimizer.train import selection
from optimizer.train.selection import Judged, Selection, judge


class _Counting(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.sizes = []
        self.width = width

    def forward(self, x):
        self.sizes.append(len(x))
        assert not self.training
        return x.repeat(1, self.width)


@pytest.mark.parametrize(("width", "later"), [(2, 64), (2**20, 8), (2**24, 1)])
def test_few_rows_are_asked_at_a_time_where_answers_are_long(monkeypatch, width, later):
    monkeypatch.setattr(selection, "_MOST_NUMBERS", 2**13)
    network, rows = _Counting(width // 2**10 if width > 2 else width), 200
    x = torch.randn(rows, 1, generator=torch.Generator().manual_seed(0))
    network.train()
    wanted = x.repeat(1, network.width)
    judged = judge(network, Selection((x,), wanted, "regression"), "cpu")
    assert sum(network.sizes) == rows
    assert network.sizes[:2] == [4, later]
    assert (judged.score, judged.minus_loss) == (0, 0)
    assert network.training


def test_score_counts_before_loss():
    assert Judged(0.9, -2.0) > Judged(0.8, -0.1)
    assert Judged(0.9, -0.1) > Judged(0.9, -0.2)


def test_score_and_loss_do_not_depend_on_where_rows_are_cut(monkeypatch):
    torch.manual_seed(0)
    x, y = torch.randn(150, 3), torch.randint(0, 2, (150,))
    network = nn.Linear(3, 2)
    whole = judge(network, Selection((x,), y), "cpu")
    monkeypatch.setattr(selection, "_FIRST", 7)
    parts = judge(network, Selection((x,), y), "cpu")
    assert parts.score == whole.score == pytest.approx(float((network(x).argmax(1) == y).float().mean()))
    expected = nn.functional.cross_entropy(network(x), y).item()
    assert -parts.minus_loss == pytest.approx(expected, rel=1e-5)
    assert -whole.minus_loss == pytest.approx(expected, rel=1e-5)
