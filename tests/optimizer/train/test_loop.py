import dataclasses

import pytest
import torch
import transformers
from torch import nn

from optimizer.errors import PassFailed
from optimizer.intake.predictor import Predictor
from optimizer.train.loop import Selection, Settings, fit, useful_threads
from optimizer.train.losses import cross_entropy

_SETTINGS = Settings(epochs=4, learning_rate=0.05, batch_size=16, weight_decay=0.0, warmup_share=0.1, seed=3, threads=1)


class _Plane(nn.Module):
    """Two classes parted by a plane, with dropout so that randomness counts."""

    def __init__(self):
        super().__init__()
        self.drop = nn.Dropout(0.1)
        self.line = nn.Linear(2, 2)

    def forward(self, x):
        return transformers.modeling_outputs.SequenceClassifierOutput(logits=self.line(self.drop(x)))


def _plane():
    torch.manual_seed(7)
    network = _Plane()
    nn.init.zeros_(network.line.weight)
    return Predictor(network, ["x"])


@pytest.fixture(scope="module")
def points():
    x = torch.randn(97, 2, generator=torch.Generator().manual_seed(1))
    return x, (x.sum(1) > 0).long()


def _fit(points, progress=lambda *_: None, classifier=None, **changes):
    x, y = points
    classifier = classifier or _plane()
    settings = dataclasses.replace(_SETTINGS, **changes)
    return classifier, fit(classifier, (x,), cross_entropy(y), Selection((x[:50],), y[:50]), settings, progress)


def test_loss_falls_and_accuracy_rises(points):
    _, result = _fit(points)
    assert result.losses[-1] < 0.7 * result.losses[0]
    assert result.accuracy > 0.95
    assert result.epochs == 4


def test_same_seed_gives_the_same_weights_and_another_gives_others(points):
    weights = [_fit(points, seed=seed)[0].network.line.weight.detach() for seed in (3, 3, 4)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_random_state_and_threads_of_the_caller_are_left_alone(points):
    classifier = _plane()
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    _fit(points, classifier=classifier)
    assert torch.equal(before, torch.get_rng_state())
    assert torch.get_num_threads() == threads


def test_best_weights_are_kept_when_later_ones_are_worse(points):
    x, y = points
    classifier = _plane()
    wrong_way = cross_entropy(1 - y)
    calls = []

    def objective(logits, rows):
        calls.append(1)
        # Three good epochs of six updates, then the labels are swapped.
        return (cross_entropy(y) if len(calls) <= 18 else wrong_way)(logits, rows)

    result = fit(
        classifier, (x,), objective, Selection((x,), y), dataclasses.replace(_SETTINGS, epochs=9), lambda *_: None
    )
    answers = classifier(x).argmax(1)
    assert result.best_epoch <= 4
    assert result.epochs == 9
    assert result.accuracy > 0.9
    assert float((answers == y).float().mean()) == pytest.approx(result.accuracy)


def test_training_stops_early_when_selection_no_longer_improves(points):
    x, y = points
    still = Selection((torch.zeros(4, 2),), torch.zeros(4, dtype=torch.long))
    settings = dataclasses.replace(_SETTINGS, epochs=50, learning_rate=1e-12, patience=2)
    result = fit(_plane(), (x,), cross_entropy(y), still, settings, lambda *_: None)
    assert result.epochs <= 5


def test_part_of_an_epoch_is_a_part_of_its_updates(points):
    shares = []
    _, result = _fit(points, progress=lambda share, loss, eta: shares.append(share), epochs=0.5)
    # 97 rows in batches of 16 are 6 updates, the single row left over joining the last.
    assert shares == [pytest.approx(step / 3) for step in (1, 2, 3)]
    assert result.epochs == 1


def test_progress_tells_the_time_that_is_left(points):
    x, y = points
    told, times = [], iter(range(1000))
    fit(
        _plane(), (x,), cross_entropy(y), Selection((x,), y), dataclasses.replace(_SETTINGS, epochs=1),
        lambda share, loss, eta: told.append((share, eta)), clock=lambda: float(next(times)),
    )  # fmt: skip
    assert told[0] == (pytest.approx(1 / 6), 5.0)
    assert told[-1] == (1.0, 0.0)


def test_batch_of_one_row_joins_the_one_before_it(points):
    x, y = points
    sizes = []

    def objective(logits, rows):
        sizes.append(len(rows))
        return cross_entropy(y)(logits, rows)

    settings = dataclasses.replace(_SETTINGS, epochs=1)
    fit(_plane(), (x,), objective, Selection((x,), y), settings, lambda *_: None)
    assert sorted(sizes) == [16] * 5 + [17]


def test_loss_that_is_no_number_ends_training_with_a_sentence(points):
    x, y = points

    def objective(logits, rows):
        return logits.sum() * float("nan")

    with pytest.raises(PassFailed, match=r"the loss is nan in epoch 1; try a lower learning rate"):
        fit(_plane(), (x,), objective, Selection((x,), y), _SETTINGS, lambda *_: None)


def test_gradient_that_is_no_number_ends_training_too(points):
    x, y = points

    def objective(logits, rows):
        return torch.sqrt((logits * 0).abs().sum())

    with pytest.raises(PassFailed, match="a gradient is nan"):
        fit(_plane(), (x,), objective, Selection((x,), y), _SETTINGS, lambda *_: None)


class _Wide(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.line = nn.Linear(width, width)

    def forward(self, x):
        return transformers.modeling_outputs.SequenceClassifierOutput(logits=self.line(x))


@pytest.mark.parametrize(("width", "expected"), [(8, 1), (2048, 2), (4096, 6)])
def test_small_networks_train_on_one_thread_and_large_ones_on_all(width, expected):
    # 3 x 2 x width^2 x 64 operations an update: 1.6 thousand million at a width of 2048.
    settings = dataclasses.replace(_SETTINGS, batch_size=64, threads=6)
    assert useful_threads(Predictor(_Wide(width), ["x"]), (torch.zeros(3, width),), settings) == expected
