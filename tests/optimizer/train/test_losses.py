import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from optimizer.train.losses import cross_entropy, distillation

_LABELS = torch.tensor([0, 2, 1, 1])
_TEACHER = torch.tensor([[2.0, 0.0, -1.0], [0.0, 0.5, 3.0], [-1.0, 1.0, 0.0], [0.2, 0.1, 0.0]])
_STUDENT = torch.tensor([[0.3, 0.1, -2.0], [1.0, 0.0, 1.0]])
_ROWS = torch.tensor([3, 1])


def test_cross_entropy_takes_the_labels_of_the_rows():
    expected = functional.cross_entropy(_STUDENT, torch.tensor([1, 2]))
    assert float(cross_entropy(_LABELS)(_STUDENT, _ROWS)) == pytest.approx(float(expected))


def test_alpha_one_is_plain_cross_entropy():
    loss = distillation(_TEACHER, _LABELS, alpha=1.0, temperature=3.0)(_STUDENT, _ROWS)
    assert float(loss) == pytest.approx(float(cross_entropy(_LABELS)(_STUDENT, _ROWS)))


@given(st.floats(0, 1), st.floats(0.5, 10))
def test_loss_is_the_formula_of_the_paper(alpha, temperature):
    soft_teacher = torch.softmax(_TEACHER[_ROWS] / temperature, -1)
    soft_student = torch.softmax(_STUDENT / temperature, -1)
    divergence = float((soft_teacher * (soft_teacher.log() - soft_student.log())).sum(-1).mean())
    expected = alpha * float(functional.cross_entropy(_STUDENT, _LABELS[_ROWS]))
    expected += (1 - alpha) * temperature**2 * divergence
    loss = distillation(_TEACHER, _LABELS, alpha, temperature)(_STUDENT, _ROWS)
    assert math.isclose(float(loss), expected, rel_tol=1e-4, abs_tol=1e-5)


def test_without_labels_only_the_teacher_counts():
    blind = distillation(_TEACHER, None, alpha=0.7, temperature=2.0)(_STUDENT, _ROWS)
    taught = distillation(_TEACHER, _LABELS, alpha=0.0, temperature=2.0)(_STUDENT, _ROWS)
    assert float(blind) == pytest.approx(float(taught))


def test_student_that_answers_like_the_teacher_has_nothing_to_learn():
    loss = distillation(_TEACHER, None, alpha=0.0, temperature=2.0)(_TEACHER[_ROWS], _ROWS)
    assert float(loss) == pytest.approx(0, abs=1e-6)
