"""What a server tells of models, jobs, variants and traffic, as frozen values.

Enumerations carry the words of protos/stillroom/v1 in lower case; a word that this client does not know yet arrives as
"unspecified". Times are aware and in UTC. Shares of traffic run from 0 to 1 in variants and from 0 to 100 in arms, as
in the protocol.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from service.client.figures import Against, Latency, Metric


class JobState(StrEnum):
    """queued -> running -> succeeded | failed | cancelled."""

    UNSPECIFIED = "unspecified"
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to the job."""
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


class TrialState(StrEnum):
    """queued -> running -> published | studied | failed; or skipped."""

    UNSPECIFIED = "unspecified"
    QUEUED = "queued"
    RUNNING = "running"
    PUBLISHED = "published"
    STUDIED = "studied"
    FAILED = "failed"
    SKIPPED = "skipped"


class VariantState(StrEnum):
    """Whether engines hold the variant."""

    UNSPECIFIED = "unspecified"
    STORED = "stored"
    LOADING = "loading"
    READY = "ready"
    UNAVAILABLE = "unavailable"


class Verdict(StrEnum):
    """What the gate said."""

    UNSPECIFIED = "unspecified"
    SOURCE = "source"
    ACCEPT = "accept"
    REJECT = "reject"
    INCONCLUSIVE = "inconclusive"
    NOT_MEASURED = "not_measured"


@dataclass(frozen=True)
class File:
    """A file of a checkpoint, data set or variant: its path in the directory, and which bytes it is."""

    path: str
    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class Checkpoint:
    """A revision of a model."""

    revision: str
    format: str
    digest: str
    files: tuple[File, ...]
    created_at: datetime | None


@dataclass(frozen=True)
class Dataset:
    """A data set: split name ("all", or "train" and "eval") to its file and its number of rows."""

    digest: str
    files: Mapping[str, File]
    rows: Mapping[str, int]


@dataclass(frozen=True)
class Model:
    """A name with its checkpoints, oldest first, and its present data set."""

    name: str
    task: str
    checkpoints: tuple[Checkpoint, ...]
    dataset: Dataset | None
    created_at: datetime | None


@dataclass(frozen=True)
class Trial:
    """One recipe tried in a job."""

    ordinal: int
    recipe: str
    state: TrialState
    # Name of the published variant; empty while there is none.
    variant: str
    reason: str
    # Why it was chosen; empty for a recipe that the request gave.
    why: str


@dataclass(frozen=True)
class PlannedTrial:
    """A recipe that a job would try."""

    recipe: str
    steps: tuple[str, ...]
    why: str
    seconds: float


@dataclass(frozen=True)
class Plan:
    """What a job would try, and what its evaluation rows can tell."""

    trials: tuple[PlannedTrial, ...]
    # Whether more is tried afterwards, by what came of these.
    goes_on: bool
    metric: str
    evaluation_rows: int
    margin: float
    # Smallest margin that the rows resolve, and rows that the margin asks for; None where nobody knows beforehand.
    resolvable: float | None
    rows_needed: int | None


@dataclass(frozen=True)
class Job:
    """An optimization request and how far it has come."""

    job_id: str
    model: str
    checkpoint: str
    state: JobState
    trials: tuple[Trial, ...]
    error: str
    created_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    # Layers of isolation that the trials ran under.
    sandbox: str
    # How often a worker took the job up.
    attempts: int


@dataclass(frozen=True)
class JobEvent:
    """One thing that happened in a job; `sequence` grows by one within it."""

    sequence: int
    time: datetime | None
    # "trial", "step", "progress", "published", "log" or "state".
    kind: str
    trial: str
    step: str
    # 0 to 100, of the whole job.
    percent: float
    loss: float | None
    eta_seconds: float | None
    message: str
    # State of the job at the time of the event.
    job_state: JobState


@dataclass(frozen=True)
class Variant:
    """A published variant and every figure that was measured of it."""

    name: str
    model: str
    checkpoint: str
    state: VariantState
    accepted: bool
    verdict: Verdict
    reason: str
    # None where nothing was measured for this host's target.
    metric: Metric | None
    source_metric: Metric | None
    # metric minus source_metric on the same rows; a paired interval.
    difference: Metric | None
    # In order of batch size.
    latencies: tuple[Latency, ...]
    size_bytes: int
    peak_memory_bytes: int
    recipe: str
    # The source's name; None for the source itself.
    parent: str | None
    digest: str
    files: tuple[File, ...]
    created_at: datetime | None
    # Present share of the model's requests, 0 to 1.
    traffic: float
    target: str
    # None where no earlier revision was measured on the same rows.
    against: Against | None = None

    def latency(self, batch: int) -> Latency | None:
        """The latency at a batch size, if it was measured."""
        return next((latency for latency in self.latencies if latency.batch == batch), None)


@dataclass(frozen=True)
class Arm:
    """A variant's share of the traffic, in percent."""

    variant: str
    weight: float


@dataclass(frozen=True)
class Traffic:
    """A generation of a model's split, and the newest generation that every engine has applied."""

    model: str
    generation: int
    applied_generation: int
    arms: tuple[Arm, ...]
    created_at: datetime | None
    # What the one who set it should know of it.
    warnings: tuple[str, ...] = ()

    @property
    def applied(self) -> bool:
        """Whether every engine routes by this generation."""
        return self.applied_generation >= self.generation


@dataclass(frozen=True)
class TensorSpec:
    """Name, protocol data type ("FP32") and shape (-1: any size) of an input or output."""

    name: str
    datatype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Signature:
    """What a model takes and gives, and the versions that answer to it."""

    model: str
    versions: tuple[str, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


@dataclass(frozen=True)
class ServerStatus:
    """What a server says of itself."""

    live: bool
    ready: bool
    name: str
    version: str
    extensions: tuple[str, ...]
