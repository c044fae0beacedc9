"""Gradients of the task's loss on calibration rows, which tell importance (Molchanov et al., CVPR 2019)."""

from dataclasses import replace

import torch
from torch import Tensor

from optimizer.artifact.task import UNLABELLED
from optimizer.intake.predictor import Predictor, answers_of, tensors_of
from optimizer.intake.stages import TorchModel
from optimizer.passes.context import Context, Splits
from optimizer.passes.training import labels_loss
from optimizer.recipe.training import Training
from optimizer.train.losses import Objective, task_loss

_ROWS = 256
_BATCH = 32


def accumulate(predictor: Predictor, model: TorchModel, context: Context) -> None:
    """Leaves in every weight's `grad` the sum over rows; without labels the network's own answers are the truth."""
    rows = context.splits.calibration
    inputs = tuple(tensor[:_ROWS] for tensor in tensors_of(rows, model.inputs))
    objective = _objective(predictor, inputs, context)
    predictor.zero_grad(set_to_none=True)
    for start in range(0, len(inputs[0]), _BATCH):
        batch = torch.arange(start, min(start + _BATCH, len(inputs[0])))
        loss = objective(predictor(*(tensor[batch] for tensor in inputs)), batch)
        (loss * len(batch)).backward()


def _objective(predictor: Predictor, inputs: tuple[Tensor, ...], context: Context) -> Objective:
    rows = context.splits.calibration
    if context.task == "causal_lm" or (rows.labels is not None and context.task not in UNLABELLED):
        splits = Splits(rows, rows, context.splits.selection)
        return labels_loss(Training(), replace(context, splits=splits))
    answers = answers_of(predictor, inputs)
    match context.task:
        case "classification" | "agreement" | "token_classification":
            return task_loss(context.task, answers.argmax(-1))
        case "binary" if answers.ndim == 2 and answers.shape[1] == 2:
            return task_loss("binary", answers.argmax(-1))
        case "binary" | "multilabel":
            return task_loss(context.task, (answers > 0).float())
        case _:
            # At its own answers an error is least and has no gradient; how large they are has one.
            return _size


def _size(answers: Tensor, rows: Tensor) -> Tensor:
    return answers.square().mean()
