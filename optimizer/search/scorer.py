"""Scores one recipe as a search does: folds it, asks it the selection rows, times it against the source."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from optimizer.artifact.graph_signature import signature_of
from optimizer.artifact.rows import feeds
from optimizer.artifact.session import build
from optimizer.artifact.signature import Signature
from optimizer.errors import PassFailed
from optimizer.intake.onnx_file import read
from optimizer.intake.stages import OnnxModel
from optimizer.measure import latency, lease
from optimizer.metrics.scoring import scoring
from optimizer.passes.selection import answers_on, scores_of, truth_of
from optimizer.pipeline.fold import Bench, fold
from optimizer.pipeline.progress import Meter
from optimizer.recipe.base import Stage
from optimizer.recipe.recipe import Recipe
from optimizer.search.figures import Figures

# Timing one point; the finalists are timed again, and longer.
_TIMING_SECONDS = 0.3

Tell = Callable[[float, str], None]


class Hopeless(Exception):
    """A point is so far below what is allowed before its last passes that these need not be run."""

    def __init__(self, accuracy: float) -> None:
        super().__init__(f"given up after the export: {accuracy:.4f} is below what is allowed")
        self.accuracy = accuracy


@dataclass(frozen=True)
class Scorer:
    """What every point is held against."""

    bench: Bench
    source: Path
    signature: Signature
    reference: NDArray[np.generic]

    @classmethod
    def of(cls, bench: Bench) -> "Scorer":
        """Asks the source the selection rows. Raises PassFailed when there is no source to compare with."""
        if bench.spec.source is None:
            raise PassFailed("a search compares with the source, which does not exist yet")
        source = bench.spec.source.model
        signature = signature_of(read(source), {})
        selection = bench.inputs.for_passes().selection
        return cls(bench, source, signature, answers_on(source, signature, selection, bench.spec.session))

    def source_accuracy(self) -> float:
        """How good the source is on the selection rows."""
        return self._accuracy(scores_of(self.reference, self.bench.spec.task, self.signature))

    def figures(self, recipe: Recipe, floor: float, tell: Tell) -> Figures:
        """Folds and scores. Raises Hopeless below `floor` right after the export, StepFailed when a pass gives up."""
        exported = self._exported(recipe)
        if exported is not None:
            accuracy = self._accuracy(self._answers(self._folded(exported, lambda share, what: tell(share / 2, what))))
            if accuracy < floor:
                raise Hopeless(accuracy)
        model = self._folded(recipe, tell)
        tell(0.9, "scoring")
        accuracy = self._accuracy(self._answers(model))
        ratio = self._time_ratio(model)
        return Figures(accuracy, ratio, model.path.stat().st_size / self.source.stat().st_size)

    def _exported(self, recipe: Recipe) -> Recipe | None:
        """The recipe up to the step that leaves an ONNX graph; None where nothing comes after, or nothing before."""
        count = next(
            (
                position
                for position, step in enumerate(recipe.steps, 1)
                if step.accepts is Stage.TORCH and step.produces is Stage.ONNX
            ),
            0,
        )
        return recipe.model_copy(update={"steps": recipe.steps[:count]}) if 1 < count < len(recipe.steps) else None

    def _folded(self, recipe: Recipe, tell: Tell) -> OnnxModel:
        meter = Meter([step.use for step in recipe.steps], lambda event: _relay(event, tell), self.bench.clock)
        with lease.held(self.bench.spec.lease, exclusive=False):
            model, _ = fold(recipe, self.bench, meter)
        assert isinstance(model, OnnxModel)
        return model

    def _answers(self, model: OnnxModel) -> NDArray[np.generic]:
        selection = self.bench.inputs.for_passes().selection
        answers = answers_on(model.path, model.signature, selection, self.bench.spec.session)
        return scores_of(answers, self.bench.spec.task, model.signature)

    def _accuracy(self, answers: NDArray[np.generic]) -> float:
        task = self.bench.spec.task
        truth = truth_of(task, self.bench.inputs.for_passes().selection, self.reference)
        return scoring(task).goodness_of(answers, truth)

    def _time_ratio(self, model: OnnxModel) -> float:
        """Its time as a share of the source's, at batch 1."""
        spec = self.bench.spec
        rows = self.bench.inputs.for_passes().calibration
        inputs = feeds(rows, model.signature.inputs, np.zeros(1, np.int64))
        mine, theirs = build(model.path, spec.session), build(self.source, spec.session)
        with lease.held(spec.lease, exclusive=True):
            _, speedup = latency.time_pair(
                lambda: mine.run(None, inputs), lambda: theirs.run(None, inputs), _TIMING_SECONDS
            )
        return 1 / speedup.value


def _relay(event: object, tell: Tell) -> None:
    percent = getattr(event, "percent", None)
    if percent is not None:
        tell(float(percent) / 100 * 0.9, str(getattr(event, "step", "")))
