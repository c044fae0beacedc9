"""Fine-tuning: the network learns from the labels of the training rows."""

from optimizer.artifact.task import UNLABELLED
from optimizer.errors import NotApplicable
from optimizer.intake.stages import TorchModel
from optimizer.passes.context import Context
from optimizer.passes.training import labels_loss, train
from optimizer.recipe.finetune import Finetune


def run(config: Finetune, model: TorchModel, context: Context) -> TorchModel:
    """Trains `model` in place.

    Raises NotApplicable for a task without labels, InvalidDataset when the rows have none, PassFailed when training
    diverges or memory runs out.
    """
    if context.task in UNLABELLED and context.task != "causal_lm":
        raise NotApplicable(f"task {context.task} has no labels to learn from; use `distill`")
    train(config, model, labels_loss(config, context), context)
    return model
