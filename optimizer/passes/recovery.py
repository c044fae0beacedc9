"""Training within a pass that cuts: the network learns its labels again, or its own former answers without labels."""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from optimizer.artifact.task import UNLABELLED
from optimizer.intake.predictor import answers_of, predictor_of, tensors_of
from optimizer.intake.stages import TorchModel
from optimizer.passes.context import Context
from optimizer.passes.training import labels_loss, train
from optimizer.recipe.training import Training
from optimizer.train.fit import Fit
from optimizer.train.hooks import Hook
from optimizer.train.losses import Objective
from optimizer.train.soft_targets import SoftLoss, soft_loss


def objective_of(config: Training, model: TorchModel, context: Context) -> Objective:
    """What the network is to learn; asked for while it is still intact."""
    labelled = context.splits.train.labels is not None and context.task not in UNLABELLED
    if labelled or context.task == "causal_lm":
        return labels_loss(config, context)
    intact = answers_of(predictor_of(model), tensors_of(context.splits.train, model.inputs))
    return _Former(intact, soft_loss(context.task, 1.0))


@dataclass(frozen=True, eq=False)
class _Former:
    """How far answers lie from the former ones. No function within a function, so that other processes can have it."""

    intact: Tensor
    loss: SoftLoss

    def __call__(self, answers: Tensor, rows: Tensor) -> Tensor:
        return self.loss(answers, self.intact[rows.to(self.intact.device)].to(answers.device), None)


def recover(
    config: Training,
    model: TorchModel,
    objective: Objective,
    context: Context,
    name: str,
    hooks: Sequence[Hook] = (),
    shares: tuple[float, float] = (0.0, 1.0),
) -> Fit:
    """Trains `model` in place; `name` tells the trainings of one pass apart when it is resumed."""
    return train(config, model, objective, context, hooks=hooks, shares=shares, name=name)
