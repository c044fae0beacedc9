"""The loss of every task, held against formulas written out."""

import math

import pytest
import torch
from torch.nn import functional

from optimizer.artifact.task import IGNORED, TASKS
from optimizer.train.losses import task_loss

_RANDOM = torch.Generator().manual_seed(2)
_SCORES = torch.randn(6, 3, generator=_RANDOM)
_CLASSES = torch.tensor([0, 2, 1, 1, 0, 2])
_BITS = torch.tensor([1, 0, 0, 1, 1, 0])
_TOKEN_SCORES = torch.randn(6, 4, 5, generator=_RANDOM)
_TOKEN_LABELS = torch.tensor([[1, 2, IGNORED, IGNORED], [0, 4, 3, 1]] * 3)
_ROWS = torch.tensor([4, 1, 0])

# Answers to all rows and labels, by task.
_CASES = {
    "classification": (_SCORES, _CLASSES),
    "agreement": (_SCORES, _SCORES.flip(0)),
    "binary": (_SCORES[:, :1], _BITS),
    "multilabel": (_SCORES, torch.stack([_BITS, 1 - _BITS, _BITS], 1)),
    "regression": (_SCORES[:, 0], _SCORES[:, 1]),
    "token_classification": (_TOKEN_SCORES, _TOKEN_LABELS),
    "causal_lm": (_TOKEN_SCORES, _TOKEN_LABELS),
    "embedding": (_SCORES, _SCORES.flip(0)),
}


def test_every_task_has_a_case():
    assert set(_CASES) == set(TASKS)


@pytest.mark.parametrize("task", TASKS)
def test_losses_of_parts_of_a_batch_make_the_loss_of_the_batch(task):
    answers, labels = _CASES[task]
    weights = torch.tensor([1.0, 2.0, 0.5, 1.0, 3.0, 0.0])
    objective = task_loss(task, labels, weights=weights)
    one, other, every = torch.tensor([0, 3]), torch.tensor([1, 2, 4, 5]), torch.arange(6)
    parts = 2 * objective(answers[one], one) + 4 * objective(answers[other], other)
    assert float(objective(answers, every)) == pytest.approx(float(parts) / 6, rel=1e-5)
    assert float(objective(answers, every)) > 0


@pytest.mark.parametrize("task", TASKS)
def test_rows_of_no_weight_do_not_count_and_equal_weights_change_nothing(task):
    answers, labels = _CASES[task]
    rows = torch.arange(6)
    alone = task_loss(task, labels, weights=torch.tensor([0.0, 5.0, 0, 0, 0, 0]))(answers, rows)
    plain = task_loss(task, labels)
    # Weights have a mean of 1, so the one row counts six times in a mean of six.
    assert float(alone) == pytest.approx(float(plain(answers[1:2], rows[1:2])), rel=1e-5)
    equal = task_loss(task, labels, weights=torch.full((6,), 3.0))(answers, rows)
    assert float(equal) == pytest.approx(float(plain(answers, rows)), rel=1e-5)


@pytest.mark.parametrize("task", TASKS)
def test_gradient_leads_downhill(task):
    answers, labels = _CASES[task]
    # A language model's last token foretells nothing, so it is given the tokens one later.
    objective = task_loss(task, labels)
    moved = answers.clone().requires_grad_()
    before = objective(moved, torch.arange(6))
    before.backward()
    after = objective(moved - 0.05 * moved.grad, torch.arange(6))
    assert float(after.detach()) < float(before.detach())


def test_label_smoothing_spreads_a_share_over_all_classes():
    smooth = task_loss("classification", _CLASSES, smoothing=0.3)(_SCORES[_ROWS], _ROWS)
    wanted = functional.one_hot(_CLASSES[_ROWS], 3) * 0.7 + 0.1
    expected = -(wanted * functional.log_softmax(_SCORES[_ROWS], -1)).sum(-1).mean()
    assert float(smooth) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_one_score_or_two_say_the_same_of_a_binary_task(smoothing):
    single = _SCORES[:, :1]
    double = torch.cat([torch.zeros_like(single), single], 1)
    objective = task_loss("binary", _BITS, smoothing=smoothing)
    rows = torch.arange(6)
    assert float(objective(single, rows)) == pytest.approx(float(objective(double, rows)), rel=1e-5)
    chance = torch.sigmoid(single[0, 0])
    wanted = 1 - smoothing / 2
    expected = -wanted * math.log(chance) - (1 - wanted) * math.log(1 - chance)
    assert float(objective(single[:1], rows[:1])) == pytest.approx(expected, rel=1e-5)


def test_multilabel_is_the_mean_over_labels():
    answers, labels = _CASES["multilabel"]
    expected = functional.binary_cross_entropy_with_logits(answers, labels.float())
    assert float(task_loss("multilabel", labels)(answers, torch.arange(6))) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("shape", [(6,), (6, 1)])
def test_regression_does_not_mind_an_axis_of_one(shape):
    answers, labels = _CASES["regression"]
    loss = task_loss("regression", labels)(answers.reshape(shape), torch.arange(6))
    assert float(loss) == pytest.approx(float((answers - labels).square().mean()), rel=1e-5)


def test_ignored_tokens_do_not_count():
    answers, labels = _CASES["token_classification"]
    expected = functional.cross_entropy(answers.reshape(-1, 5), labels.reshape(-1), ignore_index=IGNORED)
    loss = task_loss("token_classification", labels)(answers, torch.arange(6))
    assert float(loss) == pytest.approx(float(expected), rel=1e-5)


def test_language_model_is_asked_for_the_next_token():
    answers, labels = _CASES["causal_lm"]
    expected = functional.cross_entropy(answers[:, :-1].reshape(-1, 5), labels[:, 1:].reshape(-1), ignore_index=IGNORED)
    loss = task_loss("causal_lm", labels)(answers, torch.arange(6))
    assert float(loss) == pytest.approx(float(expected), rel=1e-5)


def test_embedding_that_points_where_the_teacher_points_loses_only_by_its_length():
    objective = task_loss("embedding", _SCORES)
    rows = torch.arange(6)
    assert float(objective(_SCORES, rows)) == pytest.approx(0, abs=1e-5)
    assert float(objective(1.5 * _SCORES, rows)) == pytest.approx(0.25, rel=1e-4)
