"""Golden answers: a few inputs with the answers that the measured model gave, by which another host proves itself.

A host that serves a variant runs the golden inputs once after loading and compares with `parity`. Kernels differ
between processors, most of all for int8, so small differences are normal; another model, other weights under the same
name, or kernels that saturate badly are not.
"""

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optimizer.errors import InvalidCheckpoint

Arrays = Mapping[str, NDArray[Any]]

# Largest distance from the expected answers, as a share of how much these vary from row to row.
SPREAD_TOLERANCE = 0.5
# Where all rows are answered nearly alike, as a share of the answers' own size.
SIZE_TOLERANCE = 0.05
# Share of whole-number and boolean answers that may differ (ties of an argmax inside the graph).
UNEQUAL_SHARE = 0.25


@dataclass(frozen=True, eq=False)
class Golden:
    """Inputs of one call and its outputs, by name. Brain floats come back as float32: cast to the signature's types."""

    inputs: dict[str, NDArray[Any]]
    outputs: dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Parity:
    """Whether two answers agree. `error` is the largest relative distance, 1.0 being that of a useless answer."""

    ok: bool
    error: float
    # A sentence that names the output at fault; empty when all agree.
    reason: str = ""


def write(path: Path, inputs: Arrays, outputs: Arrays) -> None:
    """Writes golden.npz: arrays "input.<name>" and "output.<name>"."""
    arrays = {f"input.{name}": _storable(array) for name, array in inputs.items()}
    arrays |= {f"output.{name}": _storable(array) for name, array in outputs.items()}
    with path.open("wb") as stream:
        # An open file keeps NumPy from adding a suffix of its own.
        np.savez(stream, allow_pickle=False, **arrays)


def read(path: Path) -> Golden:
    """Reads what `write` wrote. Raises InvalidCheckpoint for anything else."""
    inputs: dict[str, NDArray[Any]] = {}
    outputs: dict[str, NDArray[Any]] = {}
    try:
        # NumPy leaves a file open that it opened itself and found damaged.
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            for key in archive.files:
                side, _, name = key.partition(".")
                {"input": inputs, "output": outputs}[side][name] = archive[key]
    except (OSError, ValueError, KeyError, EOFError, RuntimeError, TypeError, zipfile.BadZipFile) as error:
        raise InvalidCheckpoint("the golden inputs and outputs cannot be read") from error
    if not inputs or not outputs:
        raise InvalidCheckpoint("the golden inputs and outputs cannot be read")
    return Golden(inputs, outputs)


def parity(expected: Arrays, actual: Arrays) -> Parity:
    """Compares a host's outputs with the golden ones. Pure; never raises.

    A floating output agrees when it is as large as expected, finite where expected, and
    |actual - expected| <= 0.5 |expected - its mean over the rows| (Euclidean norms over all elements), or
    |actual - expected| <= 0.05 |expected|. Another model's answers are at a distance of 1 or more of the first kind;
    int8 on a processor with saturating products stays well below 0.5. Whole numbers agree when at most a quarter of
    them differ.
    """
    worst = 0.0
    for name, wanted in expected.items():
        if name not in actual:
            return Parity(False, 1.0, f"output {name!r} is missing")
        error, reason = _compare(np.asarray(wanted), np.asarray(actual[name]))
        worst = max(worst, error)
        if reason:
            return Parity(False, worst, f"output {name!r} {reason}")
    return Parity(True, worst)


def _compare(wanted: NDArray[Any], got: NDArray[Any]) -> tuple[float, str]:
    if wanted.shape != got.shape:
        return 1.0, f"has shape {list(got.shape)} instead of {list(wanted.shape)}"
    if wanted.size == 0:
        return 0.0, ""
    if wanted.dtype.kind in "biuOSU":
        share = float(np.mean(wanted != got))
        return share, f"differs in {share:.0%} of its values" if share > UNEQUAL_SHARE else ""
    left, right = wanted.astype(np.float64), got.astype(np.float64)
    finite = np.isfinite(left)
    if not np.array_equal(finite, np.isfinite(right)):
        return 1.0, "is NaN or infinite where it should be a number, or the other way round"
    left, right = np.where(finite, left, 0.0), np.where(finite, right, 0.0)
    distance = float(np.linalg.norm(right - left))
    size = float(np.linalg.norm(left))
    # A single row has no variation between rows: its variation between elements stands in.
    centre = left.mean(axis=0, keepdims=True) if left.ndim and len(left) > 1 else left.mean()
    spread = float(np.linalg.norm(left - centre))
    tolerated = max(SPREAD_TOLERANCE * spread, SIZE_TOLERANCE * size, 1e-6)
    error = SPREAD_TOLERANCE * distance / tolerated
    if distance <= tolerated:
        return error, ""
    return error, f"is off by {distance / max(spread, 1e-12):.2f} times the variation of its rows"


def _storable(array: NDArray[Any]) -> NDArray[Any]:
    # .npy has no brain float; float32 holds each of its values exactly.
    return array.astype(np.float32) if array.dtype.name == "bfloat16" else array
