"""Soft targets: how far a student's answers lie from its teacher's, for every task (Hinton et al., 2015).

Where answers are scores of classes the teacher's probabilities, softened by a temperature T, are the target; T^2 keeps
the gradient's size when T changes. Where they are numbers or vectors, the teacher's own are.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from optimizer.artifact.task import Task


@dataclass(frozen=True)
class SoftLoss:
    """The loss of a task: zero for a student that answers as its teacher does, a mean over rows (or over tokens).

    class scores [batch, classes], or by token [batch, sequence, classes]: T^2 * KL(softmax(teacher / T) || student's)
    one score of two classes [batch, 1], several labels [batch, labels]:   T^2 * KL of Bernoulli distributions
    regression: squared error; embedding: 1 - cosine
    """

    task: Task
    temperature: float

    def __call__(self, student: Tensor, teacher: Tensor, counts: Tensor | None) -> Tensor:
        """The loss of both's answers to a batch; `counts` [batch, sequence] says which tokens do, None that all do."""
        match self.task:
            case "regression":
                return functional.mse_loss(student.float(), teacher.float())
            case "embedding":
                return (1 - functional.cosine_similarity(student.float(), teacher.float(), dim=-1)).mean()
            case "multilabel":
                return bernoulli(student, teacher, self.temperature)
            case "binary" if student.ndim < 2 or student.shape[-1] == 1:
                return bernoulli(student, teacher, self.temperature)
            case _:
                return categorical(student, teacher, self.temperature, counts)


def soft_loss(task: Task, temperature: float) -> SoftLoss:
    """The loss of `task`."""
    return SoftLoss(task, temperature)


def categorical(student: Tensor, teacher: Tensor, temperature: float, counts: Tensor | None = None) -> Tensor:
    """T^2 * KL(teacher || student) of softened class probabilities along the last axis, over what counts."""
    wanted = functional.log_softmax(teacher.float() / temperature, dim=-1)
    given = functional.log_softmax(student.float() / temperature, dim=-1)
    divergence = functional.kl_div(given, wanted, reduction="none", log_target=True).sum(-1)
    return temperature**2 * mean_of(divergence, counts)


def bernoulli(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T^2 * KL(teacher || student) of softened yes-or-no probabilities, a mean over all scores."""
    wanted, given = teacher.float() / temperature, student.float() / temperature
    yes = torch.sigmoid(wanted) * (functional.logsigmoid(wanted) - functional.logsigmoid(given))
    no = torch.sigmoid(-wanted) * (functional.logsigmoid(-wanted) - functional.logsigmoid(-given))
    return temperature**2 * (yes + no).mean()


def mean_of(values: Tensor, counts: Tensor | None) -> Tensor:
    """Mean over rows of each row's mean over what counts; `values` and `counts` [batch, sequence], or [batch] and None.

    A row counts alike in every batch, so that the losses of parts of a batch add up to the loss of the batch.
    """
    if counts is None:
        return values.mean()
    weights = counts.to(values.dtype)
    return ((values * weights).sum(-1) / weights.sum(-1).clamp(min=1)).mean()
