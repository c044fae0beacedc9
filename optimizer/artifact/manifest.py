"""The manifest: who made a variant, from what, how, and every figure that was measured of it.

It lies beside each `model.onnx` as `manifest.json`. A measurement belongs to (variant, data split, hardware, session
spec) and says all four, since int8 differs between CPUs and a latency between thread counts.
"""

from datetime import datetime
from enum import StrEnum
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from optimizer.artifact.session import SessionSpec, Target
from optimizer.artifact.signature import Signature

SCHEMA_VERSION = 1

MODEL_FILE = "model.onnx"
MANIFEST_FILE = "manifest.json"
# Inputs and outputs on which a serving host proves parity: arrays "input.<name>" and "output.<name>".
GOLDEN_FILE = "golden.npz"
# The variant's answers on the evaluation rows: "rows" (indices), "statistics" [rows, k] that the metric is made of, and
# "prediction" where it is not too much to keep.
EVALUATION_FILE = "evaluation.npz"
# The curves of all training that led to the variant, for TensorBoard; only where something was trained.
TRAINING_FILE = "training.tfevents"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Verdict(StrEnum):
    """What the gate said."""

    SOURCE = "source"
    ACCEPT = "accept"
    REJECT = "reject"
    INCONCLUSIVE = "inconclusive"
    NOT_MEASURED = "not_measured"


class Estimate(_Frozen):
    """A figure with its two-sided 95% interval."""

    name: str
    value: float
    low: float
    high: float
    # Evaluation rows, or pairs of runs, behind it.
    n: int


class Slice(_Frozen):
    """The metric on the rows of one class, or of one value of a column that the data set names."""

    # "labels", or the name behind "slice.".
    column: str
    value: str
    # `n` rows are the slice's.
    metric: Estimate
    # The source's value on the same rows.
    source: float | None = None


class Percentiles(_Frozen):
    """Latency of one call at one batch size, in milliseconds."""

    p50_ms: float
    p95_ms: float
    p99_ms: float
    # Calls timed.
    n: int
    # Coefficient of variation of the medians of consecutive blocks of calls: a few hundredths on a quiet host.
    variation: float | None = None


class BatchLatency(_Frozen):
    """Latency at one batch size, and how many times faster than the source (alternating pairs)."""

    batch: int
    latency: Percentiles
    # None for the source itself.
    speedup: Estimate | None = None


class Start(_Frozen):
    """How long a model takes until it answers for the first time, its file being in memory."""

    load_ms: float
    # With one row.
    first_call_ms: float


class Throughput(_Frozen):
    """Rows a second at the measured batch size that is best for it."""

    rows_per_second: float
    batch: int
    # Energy of the host's processors; None where the kernel does not tell.
    joules_per_row: float | None = None


class Noise(_Frozen):
    """How quiet the host was while latencies were taken."""

    # The largest of the batch sizes' variations.
    variation: float
    # Cores that other processes used meanwhile; None where the host does not tell.
    other_cores: float | None
    spoiled: bool
    # What spoiled the latencies; empty when nothing did.
    sentence: str = ""


class Hardware(_Frozen):
    """Fingerprint of the host and of the libraries that decide speed."""

    cpu: str
    cores: int
    # "avx2", "avx512f", "avx512_vnni", "amx_int8", ...: those that choose integer kernels.
    isa: tuple[str, ...]
    gpu: str | None
    onnxruntime: str

    @property
    def has_vnni(self) -> bool:
        """Whether u8s8 dot products accumulate in 32 bits, without 16-bit saturation."""
        return any(flag in self.isa for flag in ("avx512_vnni", "avx_vnni", "amx_int8"))


class Against(_Frozen):
    """How a variant compares with an earlier revision's of the same recipe, or with that one's source."""

    name: str
    metric: Estimate
    # This variant's metric minus that one's on the same rows; a paired interval.
    difference: Estimate


class Measurement(_Frozen):
    """Figures of one variant on one split, one host, one session spec."""

    split: Literal["evaluation"] = "evaluation"
    dataset_digest: str
    # Digest of the evaluated rows' indices, so that anybody can recompute the figure on the same rows.
    rows_digest: str
    hardware: Hardware
    session: SessionSpec
    metric: Estimate
    source_metric: Estimate | None = None
    # metric - source_metric on the same rows; a paired interval.
    difference: Estimate | None = None
    # Share of rows (of tokens, where those are answered) on which the prediction equals the source's.
    agreement: Estimate | None = None
    # McNemar's exact two-sided p-value of the difference, where the metric is a share of right rows.
    p_value: float | None = None
    # Further figures of the same rows: "macro_f1", "top5", "mae", "calibration_error", "negative_flips", ...
    secondary: tuple[Estimate, ...] = ()
    # The most frequent value of a column first.
    slices: tuple[Slice, ...] = ()
    # How many values of a column are not told: the rarest of many, or those on which the metric says nothing.
    slices_left_out: dict[str, int] = Field(default={})
    # "column=value" of the slice that is worst even at the better end of its interval.
    worst_slice: str | None = None
    latencies: tuple[BatchLatency, ...]
    start: Start | None = None
    throughput: Throughput | None = None
    noise: Noise | None = None
    # Largest growth of resident memory while loading and running at the largest measured batch.
    peak_memory_bytes: int
    size_bytes: int
    # None where no earlier revision was measured on these rows.
    against: Against | None = None


class FileFigures(_Frozen):
    """What a model's file holds and asks for, whatever the host."""

    parameters: int
    # Share of weights that are zero; None without weights.
    zero_share: float | None
    # What zlib leaves of the weights.
    compressed_bytes: int
    # Operations of one row, a multiplication and an addition being two; None where the graph does not tell.
    flops: int | None


class Table(_Frozen):
    """Figures that a pass found on its way and a reader may want: the sensitivity of every node, say."""

    # Names the kind for programs: "sensitivity", "training", "search".
    kind: str
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str | int | float | bool | None, ...], ...]


class StepRecord(_Frozen):
    """One pass as it was run."""

    name: str
    version: int
    config: dict[str, Any]
    cache_key: str
    seconds: float
    # What the pass wants a reader to know ("2 of 2 attention blocks fused", "parameters 11.2 M -> 2.8 M").
    notes: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()


class Lineage(_Frozen):
    """Where a variant comes from, complete enough to make it again."""

    tenant: str
    model: str
    checkpoint: str
    checkpoint_digest: str
    # Name of the source variant; None for the source itself.
    parent: str | None
    recipe: str
    recipe_digest: str
    steps: tuple[StepRecord, ...]
    seed: int
    dataset_digest: str
    # Split name to the digest of its rows' indices.
    splits: dict[str, str]
    # Library name to version.
    tools: dict[str, str]


class Manifest(_Frozen):
    """Everything known of a variant."""

    schema_version: int = SCHEMA_VERSION
    name: str
    task: str
    created_at: datetime
    # sha256 and size of model.onnx.
    digest: str
    size_bytes: int
    signature: Signature
    target: Target
    lineage: Lineage
    measurements: tuple[Measurement, ...]
    verdict: Verdict
    reason: str
    # Evaluation rows that would decide, when the verdict is "inconclusive".
    rows_needed: int | None = None
    file: FileFigures | None = None
    # Names of the classes in the order of the output's last axis, when the checkpoint says them.
    class_names: tuple[str, ...] = Field(default=())

    @property
    def accepted(self) -> bool:
        """Whether the variant may be loaded and take traffic without being asked for by name."""
        return self.verdict in (Verdict.SOURCE, Verdict.ACCEPT)
