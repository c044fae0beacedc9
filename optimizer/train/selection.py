"""The rows that choose the best epoch, and how good a network is on them."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from optimizer.artifact.task import Task
from optimizer.metrics.scoring import scoring
from optimizer.train.losses import task_loss

# Rows answered at a time, and numbers in their answers: a language model's row has millions of scores, which scoring
# copies several times in 64 bits.
_BATCH, _FIRST = 64, 4
_MOST_NUMBERS = 2**23


@dataclass(frozen=True)
class Selection:
    """Rows with what the answers to them are held against: labels, tokens, or a teacher's answers."""

    inputs: tuple[Tensor, ...]
    truth: Tensor
    task: Task = "classification"


@dataclass(frozen=True, order=True)
class Judged:
    """How good a network is; the loss breaks ties of the score, so that a better one compares greater."""

    # More is better, whatever the task's metric (`optimizer.metrics.scoring.Scoring.goodness`).
    score: float
    minus_loss: float


def judge(predictor: nn.Module, selection: Selection, device: str) -> Judged:
    """Scores a network in evaluation mode; its mode is restored. Raises PassFailed for answers that are no numbers."""
    how, loss = scoring(selection.task), task_loss(selection.task, selection.truth)
    truth = selection.truth.cpu().numpy()
    statistics, losses = [], 0.0
    was_training = predictor.training
    predictor.eval()
    try:
        with torch.inference_mode():
            start, at_once = 0, _FIRST
            while start < len(truth):
                rows = torch.arange(start, min(start + at_once, len(truth)))
                answers = predictor(*(tensor[rows.to(tensor.device)].to(device) for tensor in selection.inputs)).float()
                statistics.append(how.statistics(answers.cpu().numpy(), truth[rows.numpy()]))
                losses += float(loss(answers, rows)) * len(rows)
                start += at_once
                at_once = max(1, min(_BATCH, _MOST_NUMBERS // answers[0].numel()))
    finally:
        predictor.train(was_training)
    value = how.metric_of(np.concatenate(statistics))
    return Judged(how.goodness(value), -losses / len(truth))
