"""What the worker and the sandboxed child say to each other: a spec in, JSON lines out.

The child is started as `python -m optimizer run SPEC`, where SPEC is a JSON file holding a `TrialSpec`. It writes one
`Event` a line to standard output (nothing else may go there) and exits 0 after `Finished` or `Studied`, 3 after
`Failed`. It may read every path that the spec names, and write below `scratch` and `resume` only; the worker moves
results out of there, since a hostile checkpoint may have taken over the child.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, model_validator

from optimizer.artifact.inspected import Format
from optimizer.artifact.manifest import Manifest
from optimizer.artifact.session import SessionSpec
from optimizer.artifact.task import Task
from optimizer.recipe.objective import Objective
from optimizer.recipe.recipe import Recipe


class _Message(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CheckpointRef(_Message):
    """A materialised checkpoint."""

    revision: str
    digest: str
    format: Format
    # Directory holding the checkpoint's files under their own names.
    directory: Path


class DatasetRef(_Message):
    """A data set: one file ("all") or one for training and one for evaluation ("train", "eval")."""

    digest: str
    files: dict[str, Path]


class SourceRef(_Message):
    """The checkpoint's fp32 variant, against which everything is compared."""

    name: str
    model: Path
    manifest: Path
    evaluation: Path


class BaselineRef(_Message):
    """A variant of an earlier revision, measured on the same data, that the new one is also compared with."""

    name: str
    evaluation: Path
    # Of the evaluated rows, as its manifest says it; other rows are not compared.
    rows_digest: str
    metric: str


class TrialSpec(_Message):
    """One recipe to be tried on one checkpoint."""

    tenant: str
    model: str
    task: Task
    # Name that the variant will have ("r1.int8").
    variant: str
    checkpoint: CheckpointRef
    dataset: DatasetRef
    # Of a study: the template whose values it searches.
    recipe: Recipe
    # JSON of the space to search and of the budget to search it in; None for a plain trial of `recipe`.
    study: dict[str, Any] | None = None
    # None when this trial makes the source itself.
    source: SourceRef | None
    # None where no earlier revision was measured on the same data.
    baseline: BaselineRef | None = None
    session: SessionSpec
    objective: Objective = Objective()
    seed: int = 0
    # Writable. Finished steps appear as scratch/steps/<key>/, the result as scratch/result/.
    scratch: Path
    # Writable, and outlives the process and its worker: what an unfinished pass goes on from. None: below `scratch`.
    resume: Path | None = None
    # Read-only: finished steps of earlier trials, key to directory.
    cache: dict[str, Path] = Field(default_factory=dict)
    # File to take an flock on: shared while training, exclusive while measuring.
    lease: Path | None = None

    @model_validator(mode="before")
    @classmethod
    def _a_drop_alone_is_an_objective(cls, values: Any) -> Any:
        if not isinstance(values, dict) or "max_accuracy_drop" not in values or "objective" in values:
            return values
        rest = {name: value for name, value in values.items() if name != "max_accuracy_drop"}
        return {**rest, "objective": {"max_accuracy_drop": values["max_accuracy_drop"]}}


class StepStarted(_Message):
    """A pass begins (or is taken from the cache)."""

    event: Literal["step_started"] = "step_started"
    step: str
    index: int
    of: int
    cached: bool = False


class Progress(_Message):
    """How far the trial has come."""

    event: Literal["progress"] = "progress"
    step: str
    # 0 to 100, of this trial.
    percent: float
    loss: float | None = None
    eta_seconds: float | None = None
    message: str = ""


class StepFinished(_Message):
    """A pass has ended; its output lies in scratch/steps/<key>/ and may be kept."""

    event: Literal["step_finished"] = "step_finished"
    step: str
    key: str
    seconds: float
    # Whose step it is, where that is not the trial's own recipe: one that a study tries. The reader computes the keys
    # of that recipe itself and takes the step only if `key` is among them.
    recipe: Recipe | None = None


class Finished(_Message):
    """The trial has ended well; scratch/result/ has model.onnx, manifest.json, golden.npz and evaluation.npz.

    A variant that was not measured has no evaluation.npz; one that was trained has a training.tfevents besides.
    """

    event: Literal["finished"] = "finished"
    manifest: Manifest


# Storage of a search, which a study leaves in scratch/study/.
STUDY_FILE = "study.db"


class Finalist(_Message):
    """A recipe that a study proposes, and why."""

    recipe: Recipe
    why: str


class Studied(_Message):
    """A study has ended well; its finalists, best first, are still to be tried and measured like any recipe."""

    event: Literal["studied"] = "studied"
    finalists: tuple[Finalist, ...] = Field(max_length=20)
    # What the search found, in a sentence.
    why: str = ""


class Failed(_Message):
    """The trial has ended without a variant. `kind` is that of `optimizer.errors`, or "internal"."""

    event: Literal["failed"] = "failed"
    kind: str
    message: str
    step: str | None = None


Event = Annotated[StepStarted | Progress | StepFinished | Finished | Studied | Failed, Field(discriminator="event")]

_EVENT: TypeAdapter[Event] = TypeAdapter(Event)


def parse_event(line: bytes | str) -> Event:
    """One line of the child's output. Raises pydantic.ValidationError for anything else."""
    return _EVENT.validate_json(line)
