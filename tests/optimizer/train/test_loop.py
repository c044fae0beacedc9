import dataclasses
import math

import pytest
import torch
import transformers
from torch import nn

from optimizer.errors import PassFailed
from optimizer.intake.predictor import Predictor
from optimizer.recipe.augmentation import Augmentation
from optimizer.train.hooks import Hook
from optimizer.train.loop import fit
from optimizer.train.losses import cross_entropy, task_loss
from optimizer.train.selection import Selection
from optimizer.train.settings import Settings
from optimizer.train.threads import useful_threads

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
    assert result.score > 0.95
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
    assert result.score > 0.9
    assert float((answers == y).float().mean()) == pytest.approx(result.score)


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


class _Recorder(Hook):
    def __init__(self):
        self.told = []

    def before_update(self, step, steps):
        self.told.append(("before", step, steps))

    def before_forward(self, tensors):
        self.told.append(("forward", len(tensors[0])))

    def after_update(self, step, steps):
        self.told.append(("after", step, steps))


def test_hooks_are_told_of_every_update_in_order(points):
    hook = _Recorder()
    x, y = points
    settings = dataclasses.replace(_SETTINGS, epochs=1, batch_size=50)
    fit(_plane(), (x,), cross_entropy(y), Selection((x,), y), settings, lambda *_: None, hooks=[hook])
    assert hook.told == [
        ("before", 0, 2), ("forward", 50), ("after", 0, 2), ("before", 1, 2), ("forward", 47), ("after", 1, 2),
    ]  # fmt: skip


def test_hook_may_hold_weights_at_zero(points):
    classifier = _plane()

    class _Mask(Hook):
        def after_update(self, step, steps):
            with torch.no_grad():
                classifier.network.line.weight[0].zero_()

    x, y = points
    fit(classifier, (x,), cross_entropy(y), Selection((x,), y), _SETTINGS, lambda *_: None, hooks=[_Mask()])
    assert torch.equal(classifier.network.line.weight[0], torch.zeros(2))
    assert float(classifier.network.line.weight[1].detach().abs().sum()) > 0


def test_companions_learn_along(points):
    x, y = points
    companion = nn.Linear(2, 2)
    before = companion.weight.detach().clone()
    objective = cross_entropy(y)
    fit(
        _plane(), (x,), lambda answers, rows: objective(companion(answers), rows), Selection((x,), y), _SETTINGS,
        lambda *_: None, companions=companion,
    )  # fmt: skip
    assert not torch.equal(before, companion.weight)
    assert not companion.training


def test_elastic_net_makes_weights_small(points):
    sizes = [
        float(_fit(points, l1=l1, l2=l2)[0].network.line.weight.detach().abs().sum())
        for l1, l2 in ((0, 0), (0.2, 0), (0, 0.2))
    ]
    assert sizes[1] < 0.7 * sizes[0]
    assert sizes[2] < 0.7 * sizes[0]


def test_dropout_is_overridden_while_training_only(points):
    seen = []
    classifier = _plane()
    x, y = points

    def objective(logits, rows):
        seen.append(classifier.network.drop.p)
        return cross_entropy(y)(logits, rows)

    settings = dataclasses.replace(_SETTINGS, dropout=0.4)
    fit(classifier, (x,), objective, Selection((x,), y), settings, lambda *_: None)
    assert set(seen) == {0.4}
    assert classifier.network.drop.p == 0.1


def test_gradients_are_clipped_where_that_is_asked(points):
    free = _fit(points, optimiser="sgd", gradient_norm=None, epochs=1)[1]
    held = _fit(points, optimiser="sgd", gradient_norm=1e-3, epochs=1)[1]
    # A gradient that has been shortened to nothing moves nothing.
    assert held.losses[0] == pytest.approx(math.log(2), rel=0.05)
    assert free.losses[0] < 0.9 * held.losses[0]


@pytest.mark.parametrize("optimiser", ["adam", "adamw", "sgd"])
@pytest.mark.parametrize("schedule", ["constant", "exponential", "cosine", "plateau"])
def test_every_optimiser_learns_on_every_schedule(points, optimiser, schedule):
    _, result = _fit(points, optimiser=optimiser, schedule=schedule)
    assert result.score > 0.9


def test_rate_falls_when_progress_ends(points):
    x, y = points
    still = Selection((torch.zeros(4, 2),), torch.zeros(4, dtype=torch.long))
    settings = dataclasses.replace(
        _SETTINGS, epochs=5, learning_rate=1e-12, schedule="plateau", gamma=0.5, warmup_share=0
    )
    result = fit(_plane(), (x,), cross_entropy(y), still, settings, lambda *_: None)
    rates = [epoch.learning_rate for epoch in result.curve]
    assert rates[0] == 1e-12
    assert rates[-1] <= 0.5e-12


def test_selection_is_scored_by_the_task(points):
    x, _ = points
    wanted = x.sum(1, keepdim=True)
    torch.manual_seed(0)
    network = Predictor(nn.Linear(2, 1), ["x"], calling="positional")
    settings = dataclasses.replace(_SETTINGS, epochs=8)
    result = fit(
        network, (x,), task_loss("regression", wanted), Selection((x,), wanted, "regression"), settings, lambda *_: None
    )
    error = float((network(x) - wanted).detach().square().mean().sqrt())
    assert result.metric == pytest.approx(error, rel=1e-4)
    assert result.score == -result.metric
    assert result.metric < 0.5 * abs(result.curve[0].score)


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes")]
)
def test_running_out_of_memory_ends_training_with_advice(points, error):
    x, y = points

    def objective(logits, rows):
        raise error

    with pytest.raises(PassFailed, match=r"memory ran out while training with 16 rows a batch; try a smaller"):
        fit(_plane(), (x,), objective, Selection((x,), y), _SETTINGS, lambda *_: None)


def test_other_errors_are_not_taken_for_a_lack_of_memory(points):
    x, y = points

    def objective(logits, rows):
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes do not fit"):
        fit(_plane(), (x,), objective, Selection((x,), y), _SETTINGS, lambda *_: None)


def test_mixed_rows_are_held_against_both_their_labels(points):
    x, y = points
    asked, given = [], []

    class _Inputs(Hook):
        def before_forward(self, tensors):
            given.append(tensors[0])

    def objective(answers, rows):
        asked.append(rows)
        return cross_entropy(y)(answers, rows)

    settings = dataclasses.replace(_SETTINGS, epochs=1, augmentation=Augmentation(mixup=1.0))
    fit(_plane(), (x,), objective, Selection((x,), y), settings, lambda *_: None, hooks=[_Inputs()])
    assert len(asked) == 2 * len(given) == 12
    for batch, (own, other) in zip(given, zip(asked[::2], asked[1::2], strict=True), strict=True):
        assert sorted(own.tolist()) == sorted(other.tolist())
        # One share for the whole batch.
        moved = own != other
        shares = ((batch - x[other])[moved] / (x[own] - x[other])[moved]).flatten()
        assert torch.allclose(shares, shares[:1].expand_as(shares), atol=1e-3)
