"""What a trial reads before its first pass: the checkpoint, the data set and its split."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from optimizer.artifact import dataset
from optimizer.artifact.inspection import inspect_checkpoint
from optimizer.artifact.rows import Rows
from optimizer.artifact.task import Task
from optimizer.data.splits import Part, Splits, split
from optimizer.intake.stages import Checkpoint, OnnxModel, TorchModel
from optimizer.passes.context import Splits as PassSplits
from optimizer.passes.table import Model
from optimizer.recipe.base import Stage
from optimizer.recipe.trial import TrialSpec


@dataclass(frozen=True)
class Inputs:
    """A trial's checkpoint and data, read and checked."""

    checkpoint: Checkpoint
    files: Mapping[str, Rows]
    splits: Splits
    task: Task

    @property
    def stage(self) -> Stage:
        """The stage in which the checkpoint starts."""
        return Stage.ONNX if self.checkpoint.inspection.format == "onnx" else Stage.TORCH

    @property
    def evaluation(self) -> Rows:
        """The file that the evaluation rows lie in."""
        return self.files[self.splits.evaluation.file]

    def for_passes(self) -> PassSplits:
        """The rows that passes may read."""
        return PassSplits(
            self._rows(self.splits.train), self._rows(self.splits.calibration), self._rows(self.splits.selection)
        )

    def _rows(self, part: Part) -> Rows:
        return self.files[part.file].take(part.indices)


def read_inputs(spec: TrialSpec) -> Inputs:
    """Reads and checks what `spec` names. Raises InvalidCheckpoint or InvalidDataset."""
    root = spec.checkpoint.directory
    names = {path.relative_to(root).as_posix(): path for path in sorted(root.rglob("*")) if not path.is_dir()}
    inspection = inspect_checkpoint(names)
    files = {name: dataset.read(path, path.name) for name, path in spec.dataset.files.items()}
    dataset.check(files, inspection, spec.task)
    if spec.task == "agreement":
        # Labels that the owner does not want to count are not shown to any pass.
        files = {name: rows.unlabelled() for name, rows in files.items()}
    return Inputs(Checkpoint(names, inspection), files, split(files, spec.seed), spec.task)


def open_checkpoint(inputs: Inputs, spec: TrialSpec, directory: Path) -> Model:
    """The checkpoint as the first stage of its kind; `directory` is writable and takes an ONNX checkpoint's file."""
    if inputs.stage is Stage.TORCH:
        return open_torch(inputs)
    return open_onnx(inputs, spec, directory)


def open_torch(inputs: Inputs) -> TorchModel:
    """The checkpoint's network as its owner trained it."""
    if inputs.checkpoint.inspection.format == "pt2":
        from optimizer.intake import pt2

        return pt2.load(inputs.checkpoint, inputs.files[inputs.splits.train.file])
    if inputs.checkpoint.inspection.format == "state_dict":
        from optimizer.intake import state_dict

        return state_dict.load(inputs.checkpoint, inputs.files[inputs.splits.train.file], inputs.task)
    from optimizer.intake import hf

    return hf.load(inputs.checkpoint, inputs.files[inputs.splits.train.file], inputs.task)


def open_onnx(inputs: Inputs, spec: TrialSpec, directory: Path) -> OnnxModel:
    """The checkpoint's graph as one clean file."""
    from optimizer.intake import onnx

    directory.mkdir(parents=True, exist_ok=True)
    return onnx.load(inputs.checkpoint, directory, spec.session)
