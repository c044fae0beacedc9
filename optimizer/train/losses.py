"""What training minimises: objectives are functions of a batch's answers and of which rows they belong to.

Every loss here is a mean over rows whose weights do not depend on the batch, so that the losses of parts of a batch add
up to the loss of the batch, wherever the parts are computed.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from optimizer.artifact.task import IGNORED, Task

# (answers [batch, ...], row indices [batch]) -> mean loss of the batch, a scalar.
Objective = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class TaskLoss:
    """The loss of a task against labels, row by row and averaged; made by `task_loss`."""

    task: Task
    labels: Tensor
    smoothing: float
    # [rows], of mean 1; None: all rows count alike.
    weights: Tensor | None
    # Labels that count, in a row, on average over the data set; 1 where a row has one.
    tokens: float

    def __call__(self, answers: Tensor, rows: Tensor) -> Tensor:
        """Mean loss of `answers` to the rows `rows`."""
        losses = self.by_row(answers, rows)
        if self.weights is not None:
            losses = losses * _taken(self.weights, rows, answers)
        return losses.mean()

    def by_row(self, answers: Tensor, rows: Tensor) -> Tensor:
        """Loss of each row [batch], without its weight."""
        answers, labels = answers.float(), _taken(self.labels, rows, answers)
        match self.task:
            case "classification" | "agreement":
                return functional.cross_entropy(
                    answers, _classes(labels, answers), reduction="none", label_smoothing=self.smoothing
                )
            case "binary":
                return _binary(answers, labels, self.smoothing)
            case "multilabel":
                return _bits(answers, labels, self.smoothing)
            case "regression":
                wanted = labels.float().reshape(len(answers), -1)
                return functional.mse_loss(answers.reshape(wanted.shape), wanted, reduction="none").mean(dim=1)
            case "token_classification":
                return _tokens(answers, labels, self.smoothing) / self.tokens
            case "causal_lm":
                return _tokens(answers[:, :-1], labels[:, 1:], self.smoothing) / self.tokens
            case "embedding":
                return _distance(answers, labels.float())


def task_loss(task: Task, labels: Tensor, *, smoothing: float = 0.0, weights: Tensor | None = None) -> TaskLoss:
    """The loss that suits a task.

    Cross-entropy with label smoothing (Szegedy et al., CVPR 2016) for classes, tokens and next tokens (IGNORED ones do
    not count; a row counts by its tokens), binary cross-entropy for one or two scores of a binary task and for
    multilabel, squared error for regression, cosine distance and relative squared error for embeddings.

    `labels` are what `optimizer.artifact.rows` says, a teacher's class scores (agreement) or vectors (embedding), or
    the tokens themselves (causal_lm). `weights` [rows] say how much a row counts.
    """
    if weights is not None:
        weights = weights.float() / weights.float().mean()
    tokens = 1.0
    if task in ("token_classification", "causal_lm"):
        counted = labels[:, 1:] if task == "causal_lm" else labels
        tokens = max(float((counted != IGNORED).sum()) / len(labels), 1e-9)
    return TaskLoss(task, labels, smoothing, weights, tokens)


def cross_entropy(labels: Tensor) -> Objective:
    """Cross-entropy with the class of each row."""
    return task_loss("classification", labels)


def distillation(teacher: Tensor, labels: Tensor | None, alpha: float, temperature: float) -> Objective:
    """alpha * CE(labels) + (1 - alpha) * T^2 * KL(teacher || student), both softened by T (Hinton et al., 2015).

    `teacher` holds the teacher's logits of every row, computed once. T^2 keeps the gradient's size when T changes.
    Without labels alpha counts as 0.
    """
    soft = functional.log_softmax(teacher / temperature, dim=-1)
    weight = alpha if labels is not None else 0.0

    def objective(logits: Tensor, rows: Tensor) -> Tensor:
        loss = torch.zeros((), device=logits.device)
        if weight < 1:
            student = functional.log_softmax(logits / temperature, dim=-1)
            divergence = functional.kl_div(student, soft[rows], reduction="batchmean", log_target=True)
            loss = loss + (1 - weight) * temperature**2 * divergence
        if labels is not None and weight > 0:
            loss = loss + weight * functional.cross_entropy(logits, labels[rows])
        return loss

    return objective


def _taken(values: Tensor, rows: Tensor, like: Tensor) -> Tensor:
    return values[rows.to(values.device)].to(like.device)


def _classes(labels: Tensor, answers: Tensor) -> Tensor:
    """Classes [batch], of classes or of a teacher's scores [batch, classes]."""
    return labels.argmax(-1) if labels.ndim == answers.ndim else labels.long()


def _binary(answers: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    wanted = labels.reshape(len(answers))
    if answers.ndim == 2 and answers.shape[1] == 2:
        return functional.cross_entropy(answers, wanted.long(), reduction="none", label_smoothing=smoothing)
    return _bits(answers, wanted, smoothing)


def _bits(answers: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    wanted = labels.float().reshape(len(answers), -1) * (1 - smoothing) + smoothing / 2
    scores = answers.reshape(wanted.shape)
    return functional.binary_cross_entropy_with_logits(scores, wanted, reduction="none").mean(dim=1)


def _tokens(answers: Tensor, labels: Tensor, smoothing: float) -> Tensor:
    """Summed cross-entropy of each row's tokens that count."""
    losses = functional.cross_entropy(
        answers.flatten(0, 1), labels.long().flatten(), reduction="none", ignore_index=IGNORED,
        label_smoothing=smoothing,
    )  # fmt: skip
    return losses.reshape(len(labels), -1).sum(dim=1)


def _distance(answers: Tensor, wanted: Tensor) -> Tensor:
    """1 - cosine, which the metric counts, and the relative squared error, which holds the length."""
    error = (answers - wanted).square().sum(dim=-1) / wanted.square().sum(dim=-1).clamp(min=1e-12)
    return 1 - functional.cosine_similarity(answers, wanted, dim=-1) + error
