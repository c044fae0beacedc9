"""Lets a network learn from the checkpoint it came from: who teaches, and what the loss is."""

from typing import Self

import torch
from torch import Tensor, nn

from optimizer.artifact.task import IGNORED, UNLABELLED
from optimizer.errors import NotApplicable
from optimizer.intake.predictor import Predictor, answers_of, predictor_of, tensors_of
from optimizer.intake.stages import TorchModel
from optimizer.passes.context import Context
from optimizer.passes.training import labels_loss, selection_of
from optimizer.recipe.augmentation import Augmentation
from optimizer.recipe.taught import Taught
from optimizer.train.selection import Selection
from optimizer.train.soft_targets import soft_loss
from optimizer.train.teacher import LiveTeacher, Matching, Pairs

_MASK = "attention_mask"
# Answers that would take more memory are asked for in every epoch instead of being kept.
_KEPT_BYTES = 256 * 2**20
# Rows that show which layers there are.
_ROWS = 2


class Lesson:
    """The objective of one training, and what learns along with the student.

    Holds hooks in the student while it is open: use as a context manager.
    """

    def __init__(
        self,
        config: Taught,
        student: Predictor,
        model: TorchModel,
        context: Context,
        *,
        hidden: float = 0.0,
        attention: float = 0.0,
        pairs: Pairs | None = None,
    ) -> None:
        """`hidden`, `attention` and `pairs` are those of `optimizer.train.teacher.Matching`.

        Raises NotApplicable when inner values cannot be matched, InvalidDataset when labels are needed and not there.
        """
        rows = context.splits.train
        inputs = tensors_of(rows, model.inputs)
        labelled = context.task == "causal_lm" or (rows.labels is not None and context.task not in UNLABELLED)
        self._alpha = config.alpha if labelled else 0.0
        self._hard = labels_loss(config, context) if self._alpha > 0 else None
        self._soft = soft_loss(context.task, config.temperature)
        self._names = [spec.name for spec in model.inputs]
        self._counts = _counted(context, self._names, inputs)
        self._live: LiveTeacher | None = None
        self._kept: Tensor | None = None
        self._matching: Matching | None = None
        matches = hidden > 0 or attention > 0
        self._teacher = teacher_of(context, model) if self._alpha < 1 or matches else None
        if matches:
            self._matching = self._matched(student, context, inputs, hidden, attention, pairs)
        if self._teacher is not None:
            one = _required(self._teacher, student, inputs)
            augmented = config.augmentation != Augmentation()
            if matches or augmented or one.numel() * one.element_size() * len(rows) > _KEPT_BYTES:
                self._live = LiveTeacher(student, self._teacher)
            else:
                context.report(0.0, message="asking the teacher")
                self._kept = answers_of(self._teacher, inputs)
        judge = self._teacher
        if self._kept is not None:
            # It has said all; what is not held need not be sent to other processes.
            self._teacher = None
        if judge is None and context.references.graph is not None:
            judge = teacher_of(context, model)
        self.selection: Selection = selection_of(model, context, judge)

    @property
    def companions(self) -> nn.Module | None:
        """Projections to be trained along with the student."""
        return self._matching

    def objective(self, answers: Tensor, rows: Tensor) -> Tensor:
        """The loss of a batch (`optimizer.train.losses.Objective`)."""
        loss = torch.zeros((), device=answers.device)
        if self._hard is not None:
            loss = loss + self._alpha * self._hard(answers, rows)
        if self._kept is not None or self._live is not None:
            wanted = self._live.answers() if self._live is not None else _taken(self._kept, rows, answers)
            if self._alpha < 1:
                counts = None if self._counts is None else _taken(self._counts, rows, answers)
                loss = loss + (1 - self._alpha) * self._soft(answers, wanted, counts)
        if self._matching is not None and self._live is not None:
            loss = loss + self._matching(dict(zip(self._names, self._live.inputs, strict=True)).get(_MASK))
        return loss

    def close(self) -> None:
        """Takes the hooks out of the student."""
        for held in (self._live, self._matching):
            if held is not None:
                held.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _matched(
        self,
        student: Predictor,
        context: Context,
        inputs: tuple[Tensor, ...],
        hidden: float,
        attention: float,
        pairs: Pairs | None,
    ) -> Matching:
        if context.references.graph is not None:
            raise NotApplicable("an ONNX teacher shows its answers only: its hidden states cannot be matched")
        assert self._teacher is not None
        example = tuple(tensor[:_ROWS] for tensor in inputs)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(context.seed)
            return Matching(student, self._teacher, example, hidden=hidden, attention=attention, pairs=pairs)


def teacher_of(context: Context, model: TorchModel) -> Predictor:
    """The checkpoint as it was pushed, asked with the inputs of `model`."""
    graph = context.references.graph
    if graph is None:
        return predictor_of(context.references.source()).eval()
    from optimizer.intake.graph_predictor import GraphPredictor

    return GraphPredictor(graph(), [spec.name for spec in model.inputs], context.session, context.task).eval()


def _counted(context: Context, names: list[str], inputs: tuple[Tensor, ...]) -> Tensor | None:
    """Which tokens [rows, sequence] the teacher is listened to for; None where answers are not by token."""
    if context.task not in ("token_classification", "causal_lm"):
        return None
    labels = context.splits.train.labels
    if context.task == "token_classification" and labels is not None:
        return torch.from_numpy(labels != IGNORED)
    mask = dict(zip(names, inputs, strict=True)).get(_MASK)
    return None if mask is None else mask > 0


def _required(teacher: Predictor, student: Predictor, inputs: tuple[Tensor, ...]) -> Tensor:
    """The teacher's answer to one row. Raises NotApplicable when the student's has another shape."""
    row = [tensor[:1] for tensor in inputs]
    wanted, given = answers_of(teacher, row), answers_of(student, row)
    theirs, mine = list(wanted.shape[1:]), list(given.shape[1:])
    if theirs != mine:
        raise NotApplicable(
            f"the checkpoint answers {theirs} a row and the network here {mine}, so it cannot teach; with `alpha: 1` "
            "the labels alone do"
        )
    return wanted


def _taken(values: Tensor | None, rows: Tensor, like: Tensor) -> Tensor:
    assert values is not None
    return values[rows.to(values.device)].to(like.device)
