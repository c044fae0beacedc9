"""What the variants in the split claim of themselves: their manifests, and their recorded answers row by row."""

import functools
import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from optimizer.artifact import dataset
from optimizer.artifact.graph_signature import class_output
from optimizer.artifact.manifest import EVALUATION_FILE, MANIFEST_FILE, Manifest
from optimizer.artifact.rows import Rows
from optimizer.artifact.signature import Signature
from service.client.client import Client
from service.client.figures import Metric
from service.errors import FailedPrecondition, InvalidArgument


@dataclass(frozen=True, eq=False)
class Claim:
    """One variant. The arrays run along its evaluation rows, ascending by row."""

    variant: str
    # Share of the traffic, 0 to 1.
    weight: float
    metric: Metric
    # Median of one row at batch 1 when it was measured, for comparison.
    measured_p50_ms: float
    rows: NDArray[np.int64]
    prediction: NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Claims:
    """All variants with traffic, and the rows that all of them were measured on."""

    model: str
    generation: int
    claims: tuple[Claim, ...]
    rows: NDArray[np.int64]
    # The right class of each of `rows`: its label, or the source's answer for the task "agreement".
    truth: NDArray[np.int64]
    signature: Signature

    @property
    def output(self) -> str:
        """Name of the output that holds the class scores."""
        return class_output(self.signature).name


def load_data(client: Client, model: str, path: Path) -> Rows:
    """The rows of the data file that the model's variants were evaluated on.

    Raises InvalidArgument for another file, since then row numbers would mean other rows.
    """
    known = client.model(model).dataset
    if known is None:
        raise FailedPrecondition(
            f"model {model!r} has no data set: push one with `stillroom push {model} PATH --data FILE`"
        )
    split = "eval" if "eval" in known.files else "all"
    try:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise InvalidArgument(f"{path} cannot be read: {error.strerror}") from error
    if found != known.files[split].sha256:
        raise InvalidArgument(
            f"{path} is not the data that model {model!r} was evaluated on; give the file that was pushed as "
            + ("`--data eval=FILE`" if split == "eval" else "`--data FILE`")
        )
    return dataset.read(path, path.name)


def gather(client: Client, model: str, data: Rows) -> Claims:
    """Pulls the manifest and the recorded answers of every variant that takes traffic."""
    traffic = client.traffic(model)
    arms = {arm.variant: arm.weight / 100 for arm in traffic.arms if arm.weight > 0}
    if not arms:
        raise FailedPrecondition(f"no variant of model {model!r} takes traffic yet; see `stillroom variants {model}`")
    claims: list[Claim] = []
    tasks: set[str] = set()
    truths: dict[str, dict[int, int]] = {}
    with tempfile.TemporaryDirectory(prefix="stillroom-loadtest-") as scratch:
        for variant, weight in arms.items():
            manifest, arrays = _pull(client, model, variant, Path(scratch))
            claims.append(_claim(variant, weight, manifest, arrays))
            tasks.add(manifest.task)
            source = manifest.lineage.parent or variant
            if source not in truths and manifest.task == "agreement":
                _, theirs = (manifest, arrays) if source == variant else _pull(client, model, source, Path(scratch))
                truths[source] = dict(zip(theirs["rows"].tolist(), theirs["prediction"].tolist(), strict=True))
    rows = functools.reduce(np.intersect1d, [claim.rows for claim in claims])
    if not len(rows) or rows[-1] >= len(data):
        raise FailedPrecondition(f"the variants of {model!r} share no evaluation rows of this data; optimize it again")
    if tasks == {"classification"} and data.labels is not None:
        truth = data.labels[rows]
    elif tasks == {"agreement"} and len(truths) == 1:
        (answers,) = truths.values()
        truth = np.array([answers[row] for row in rows.tolist()], dtype=np.int64)
    else:
        raise FailedPrecondition(f"the split of {model!r} mixes variants of different tasks or sources")
    return Claims(model, traffic.generation, tuple(claims), rows, truth, manifest.signature)


def _pull(client: Client, model: str, variant: str, scratch: Path) -> tuple[Manifest, dict[str, NDArray[np.int64]]]:
    folder = scratch / variant
    if not folder.exists():
        client.pull(model, variant, folder)
    manifest = Manifest.model_validate_json((folder / MANIFEST_FILE).read_bytes())
    if not (folder / EVALUATION_FILE).exists():
        raise FailedPrecondition(
            f"variant {variant} was not measured on this server's host, so there is nothing to check"
        )
    with np.load(folder / EVALUATION_FILE, allow_pickle=False) as archive:
        return manifest, {name: archive[name].astype(np.int64) for name in ("rows", "prediction")}


def _claim(variant: str, weight: float, manifest: Manifest, arrays: dict[str, NDArray[np.int64]]) -> Claim:
    measured = manifest.measurements[-1]
    metric = measured.metric
    order = np.argsort(arrays["rows"], kind="stable")
    return Claim(
        variant=variant,
        weight=weight,
        metric=Metric(metric.name, metric.value, metric.low, metric.high, metric.n),
        measured_p50_ms=next((x.latency.p50_ms for x in measured.latencies if x.batch == 1), float("nan")),
        rows=arrays["rows"][order],
        prediction=arrays["prediction"][order],
    )
