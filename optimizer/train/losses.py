"""What training minimises: objectives are functions of a batch's logits and of which rows they belong to."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

# (logits [batch, classes], row indices [batch]) -> mean loss of the batch, a scalar.
Objective = Callable[[Tensor, Tensor], Tensor]


def cross_entropy(labels: Tensor) -> Objective:
    """Cross-entropy with the label of each row."""
    return lambda logits, rows: functional.cross_entropy(logits, labels[rows])


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
