import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Bernoulli, Categorical, kl_divergence

from optimizer.artifact.task import TASKS
from optimizer.train.soft_targets import mean_of, soft_loss

_SHAPES = {
    "classification": (4, 3), "agreement": (4, 3), "binary": (4, 1), "multilabel": (4, 3), "regression": (4, 2),
    "token_classification": (2, 5, 3), "causal_lm": (2, 5, 7), "embedding": (4, 6),
}  # fmt: skip


def _answers(task, seed):
    return 2 * torch.randn(_SHAPES[task], generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("task", TASKS)
def test_student_that_answers_as_its_teacher_has_nothing_to_learn(task):
    student = _answers(task, 1).requires_grad_()
    loss = soft_loss(task, 2.0)(student, _answers(task, 1), None)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(0, abs=1e-6)
    assert float(student.grad.abs().max()) == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("task", TASKS)
def test_a_step_downhill_brings_the_student_closer(task):
    student, teacher = _answers(task, 1).requires_grad_(), _answers(task, 2)
    loss = soft_loss(task, 2.0)
    before = loss(student, teacher, None)
    before.backward()
    assert loss(student - 0.1 * student.grad, teacher, None) < before


@given(st.floats(0.5, 8), st.integers(0, 1000))
def test_classes_are_compared_by_the_divergence_of_softened_probabilities(temperature, seed):
    student, teacher = _answers("classification", seed), _answers("classification", seed + 1)
    expected = kl_divergence(Categorical(logits=teacher / temperature), Categorical(logits=student / temperature))
    loss = soft_loss("classification", temperature)(student, teacher, None)
    assert float(loss) == pytest.approx(temperature**2 * float(expected.mean()), rel=1e-3, abs=1e-5)


@given(st.floats(0.5, 8), st.integers(0, 1000), st.sampled_from(["binary", "multilabel"]))
def test_yes_and_no_are_compared_as_bernoulli_distributions(temperature, seed, task):
    student, teacher = _answers(task, seed), _answers(task, seed + 1)
    expected = kl_divergence(Bernoulli(logits=teacher / temperature), Bernoulli(logits=student / temperature))
    loss = soft_loss(task, temperature)(student, teacher, None)
    assert float(loss) == pytest.approx(temperature**2 * float(expected.mean()), rel=1e-3, abs=1e-5)


def test_two_scores_of_a_binary_model_are_classes():
    student, teacher = _answers("classification", 1)[:, :2], _answers("classification", 2)[:, :2]
    assert torch.equal(
        soft_loss("binary", 2.0)(student, teacher, None), soft_loss("classification", 2.0)(student, teacher, None)
    )


@pytest.mark.parametrize("task", ["token_classification", "causal_lm"])
def test_padding_does_not_count(task):
    student, teacher = _answers(task, 1), _answers(task, 2)
    counts = torch.tensor([[1, 1, 1, 0, 0], [1, 0, 0, 0, 0]])
    spoilt = torch.where(counts[..., None] > 0, student, torch.full_like(student, 50.0))
    loss = soft_loss(task, 2.0)
    assert torch.equal(loss(student, teacher, counts), loss(spoilt, teacher, counts))
    assert not torch.equal(loss(student, teacher, None), loss(spoilt, teacher, None))


def test_length_of_an_embedding_does_not_matter():
    student = _answers("embedding", 1)
    assert float(soft_loss("embedding", 1.0)(3 * student, student, None)) == pytest.approx(0, abs=1e-6)


def test_mean_of_nothing_is_zero():
    assert float(mean_of(torch.ones(2, 3), torch.zeros(2, 3))) == 0
