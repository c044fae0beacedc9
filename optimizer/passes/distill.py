"""Distillation: the present network learns from the answers of the checkpoint it came from (Hinton et al., 2015)."""

import torch

from optimizer.intake.predictor import answers_of, predictor_of, tensors_of
from optimizer.intake.stages import TorchModel
from optimizer.passes.context import Context
from optimizer.passes.training import device_of, selection_of, train
from optimizer.recipe.distill import Distill
from optimizer.train.losses import distillation

# Share of the pass that the teacher's answers take.
_TEACHING = 0.05


def run(config: Distill, model: TorchModel, context: Context) -> TorchModel:
    """Trains `model` in place. Raises PassFailed when training diverges."""
    rows = context.splits.train
    # Nothing is augmented, so the teacher says everything it has to say once.
    teacher = predictor_of(context.references.source())
    context.report(0.0, message="asking the teacher")
    soft = answers_of(teacher, tensors_of(rows, model.inputs))
    selection = selection_of(model, context, teacher)
    del teacher
    device = device_of(context)
    labels = None if rows.labels is None else torch.from_numpy(rows.labels).to(device)
    objective = distillation(soft.to(device), labels, config.alpha, config.temperature)
    train(config, model, objective, context, selection=selection, shares=(_TEACHING, 1.0))
    return model
