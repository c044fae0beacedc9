"""How passes train: from a config and a context to settings, rows, progress, and notes on what came of it."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from optimizer.artifact.manifest import TRAINING_FILE, Table
from optimizer.artifact.task import METRIC, UNLABELLED, Task
from optimizer.errors import InvalidDataset
from optimizer.intake.predictor import Predictor, answers_of, predictor_of, tensors_of
from optimizer.intake.stages import TorchModel
from optimizer.passes.context import Context
from optimizer.passes.selection import tokens_of
from optimizer.passes.sparsity import ZerosHeld
from optimizer.recipe.training import Training
from optimizer.train import telemetry
from optimizer.train.fit import Fit
from optimizer.train.freezing import Freeze
from optimizer.train.hooks import Hook
from optimizer.train.loop import fit
from optimizer.train.losses import Objective, TaskLoss, task_loss
from optimizer.train.selection import Selection
from optimizer.train.settings import Settings

_CONVOLUTIONAL_RATE = 1e-3
# What encoders of width 768 are fine-tuned with; narrower ones need and bear more.
_ENCODER_RATE = 5e-5
_ENCODER_WIDTH = 768


def train(
    config: Training,
    model: TorchModel,
    objective: Objective,
    context: Context,
    *,
    selection: Selection | None = None,
    predictor: Predictor | None = None,
    companions: nn.Module | None = None,
    hooks: Sequence[Hook] = (),
    shares: tuple[float, float] = (0.0, 1.0),
    name: str = "training",
) -> Fit:
    """Trains `model` in place on the training rows, tells how far it is, and notes what came of it.

    What earlier passes set to zero stays zero. `objective` gets indices of training rows. `selection` chooses the best
    epoch (default: `selection_of`). `predictor` is what is trained where that is not the model itself. `shares` are
    where in the pass training begins and ends; a pass that trains several times gives each a `name`. Raises PassFailed
    when training diverges or memory runs out, NotApplicable without a body to freeze.
    """
    chosen = selection or selection_of(model, context)
    begin, end = shares
    with _frozen_at_first(config, model) as freezing:
        result = fit(
            predictor or predictor_of(model),
            tensors_of(context.splits.train, model.inputs),
            objective,
            chosen,
            settings_of(config, model, context),
            lambda share, loss, eta: context.report(
                begin + (end - begin) * share, loss=loss, eta_seconds=eta, message="training"
            ),
            companions=companions,
            hooks=(*freezing, *hooks, *_held(model)),
            names=[spec.name for spec in model.inputs],
            resume=None if context.resume is None else context.resume / name,
        )
    of = "the selection rows" if context.splits.selection.labels is not None else _STAND_IN[chosen.task]
    context.notes.append(result.summary(of))
    if result.overfitting is not None:
        context.notes.append(
            f"overfitting from epoch {result.overfitting} on: the training loss fell on, the selection loss rose"
        )
    context.notes.extend(result.notes)
    context.tables.append(table_of(result))
    telemetry.write(context.directory / TRAINING_FILE, getattr(config, "use", name), result, time.time())
    return result


@contextmanager
def _frozen_at_first(config: Training, model: TorchModel) -> Iterator[Sequence[Hook]]:
    if not config.freeze_epochs:
        yield ()
        return
    freeze = Freeze(model.network, config.freeze_epochs / config.epochs)
    try:
        yield (freeze,)
    finally:
        freeze.release()


def _held(model: TorchModel) -> list[Hook]:
    held = ZerosHeld(model.network)
    return [held] if held else []


# What answers are held against where there are no labels.
_STAND_IN: dict[Task, str] = dict.fromkeys(METRIC, "the teacher's answers") | {"causal_lm": "the selection rows"}


def settings_of(config: Training, model: TorchModel, context: Context) -> Settings:
    """A config, completed by what the model and the host decide."""
    return Settings(
        epochs=config.epochs,
        learning_rate=config.learning_rate or default_learning_rate(model),
        batch_size=config.batch_size,
        weight_decay=config.weight_decay,
        warmup_share=config.warmup_share,
        seed=context.seed,
        threads=context.threads,
        patience=config.patience,
        device=device_of(context),
        optimiser=config.optimiser,
        momentum=config.momentum,
        schedule=config.schedule,
        gamma=config.gamma,
        layer_decay=config.layer_decay,
        l1=config.l1,
        l2=config.l2,
        dropout=config.dropout,
        gradient_norm=config.gradient_norm,
        augmentation=config.augmentation,
        mixed_precision=config.mixed_precision,
        processes=config.processes,
    )


def device_of(context: Context) -> str:
    """Where training runs: on the GPU that the variants are for, where there is one."""
    return "cuda" if context.session.target == "cuda" and torch.cuda.is_available() else "cpu"


def default_learning_rate(model: TorchModel) -> float:
    """A rate that suits the kind of network: constant for convolutions, inverse to the width for encoders."""
    if any(isinstance(module, nn.BatchNorm2d) for module in model.network.modules()):
        return _CONVOLUTIONAL_RATE
    widths = [module.normalized_shape[-1] for module in model.network.modules() if isinstance(module, nn.LayerNorm)]
    width = max(widths, default=_ENCODER_WIDTH)
    return min(_CONVOLUTIONAL_RATE, _ENCODER_RATE * _ENCODER_WIDTH / width)


def selection_of(model: TorchModel, context: Context, teacher: Predictor | None = None) -> Selection:
    """The selection rows with their labels, or with what stands for them: tokens, or the answers of the teacher.

    The teacher is the checkpoint as its owner trained it, unless another is given.
    """
    rows, task = context.splits.selection, context.task
    inputs = tensors_of(rows, model.inputs)
    if task == "causal_lm":
        return Selection(inputs, torch.from_numpy(tokens_of(rows) if rows.labels is None else rows.labels), task)
    if rows.labels is not None and task not in UNLABELLED:
        return Selection(inputs, torch.from_numpy(rows.labels), task)
    source = teacher or predictor_of(context.references.source())
    # Classes without labels: how often the network says what the teacher says.
    held = "agreement" if task == "classification" else task
    return Selection(inputs, _as_labels(task, answers_of(source, inputs)), held)


def _as_labels(task: Task, answers: Tensor) -> Tensor:
    """What a teacher's answers say, in the form that labels of the task have."""
    match task:
        case "token_classification":
            return answers.argmax(-1)
        case "multilabel":
            return (answers > 0).float()
        case "binary":
            scores = answers.reshape(len(answers), -1)
            return (scores[:, -1] > (scores[:, 0] if scores.shape[1] == 2 else 0)).long()
        case _:
            return answers


def labels_loss(config: Training, context: Context) -> TaskLoss:
    """The task's loss on the training rows' labels and weights, or on their tokens for a language model.

    Raises InvalidDataset when there are no labels to learn from.
    """
    rows = context.splits.train
    labels = rows.labels
    if labels is None and context.task == "causal_lm":
        labels = tokens_of(rows)
    if labels is None:
        raise InvalidDataset(f"training needs labels for task {context.task}; the data has no array 'labels'")
    weights = None if rows.weight is None else torch.from_numpy(rows.weight)
    return task_loss(context.task, torch.from_numpy(labels), smoothing=config.label_smoothing, weights=weights)


def table_of(result: Fit) -> Table:
    """The curves of training, one row an epoch."""
    return Table(
        kind="training",
        title="Training",
        columns=("epoch", "loss", "selection loss", METRIC[result.task], "learning rate", "gradient norm"),
        rows=tuple(
            (
                number,
                epoch.loss,
                epoch.selection_loss,
                abs(epoch.score),
                epoch.learning_rate,
                epoch.gradient_norm,
            )
            for number, epoch in enumerate(result.curve, 1)
        ),
    )
