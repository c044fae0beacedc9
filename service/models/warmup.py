"""What happens between a built session and READY: inputs to try, parity with the golden outputs, the speed curve."""

import time
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from optimizer.artifact.signature import Signature, TensorSpec, numpy_dtype
from service.backends.base import Backend
from service.errors import FailedPrecondition
from service.models.parity import first_difference
from service.types import Array

# Size of a named axis that nothing tells: short enough for any model, long enough to be an axis.
_UNKNOWN_AXIS = 8
# Timed runs a batch size; the least of them counts, since other work on the host can only add.
_RUNS = 3
# A larger batch must be faster a row by this much to be worth its latency.
_WORTH_IT = 0.97
_CURVE_SECONDS = 3.0


def read_golden(path: Path) -> dict[str, Array]:
    """The arrays "input.<name>" and "output.<name>". Raises FailedPrecondition when the file cannot be read."""
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise FailedPrecondition("the variant's golden file cannot be read") from error


def check_parity(backend: Backend, signature: Signature, golden: Mapping[str, Array], max_rows: int) -> None:
    """Runs the golden inputs. Raises FailedPrecondition when the outputs do not agree."""
    inputs = [_golden_array(golden, f"input.{tensor.name}", tensor) for tensor in signature.inputs]
    expected = [_golden_array(golden, f"output.{tensor.name}", tensor) for tensor in signature.outputs]
    if signature.batched:
        rows = len(inputs[0])
        pieces = [
            backend.run([np.ascontiguousarray(array[start : start + max_rows]) for array in inputs])
            for start in range(0, rows, max_rows)
        ]
        got = [np.concatenate(parts) for parts in zip(*pieces, strict=True)]
    else:
        got = backend.run([np.ascontiguousarray(array) for array in inputs])
    sentence = first_difference([tensor.name for tensor in signature.outputs], expected, got)
    if sentence is not None:
        raise FailedPrecondition(f"no parity on this host: {sentence}")


def sample(signature: Signature, golden: Mapping[str, Array] | None, rows: int) -> list[Array]:
    """Inputs of `rows` rows: the golden ones over and over, or zeros."""
    arrays: list[Array] = []
    for tensor in signature.inputs:
        known = None if golden is None else golden.get(f"input.{tensor.name}")
        if known is not None and known.size:
            if signature.batched:
                known = np.resize(known, (rows, *known.shape[1:]))
            arrays.append(np.ascontiguousarray(known))
            continue
        shape = _sizes(tensor, signature.limits)
        if signature.batched:
            shape = (rows, *shape[1:])
        dtype = numpy_dtype(tensor.datatype)
        arrays.append(np.full(shape, b"", object) if dtype.kind == "O" else np.zeros(shape, dtype))
    return arrays


def seconds_by_batch(
    prepare: Callable[[int], Callable[[], object]], max_batch: int, clock: Callable[[], float] = time.perf_counter
) -> dict[int, float]:
    """Times what `prepare(rows)` gives, at 1, 2, 4, ... up to `max_batch` rows.

    Ends early when two sizes in a row were no better than a smaller one, or three seconds are spent.
    """
    curve: dict[int, float] = {}
    began = clock()
    rows = 1
    while True:
        run = prepare(rows)
        run()  # Memory is planned in the first run of a size.
        curve[rows] = min(_timed(run, clock) for _ in range(_RUNS))
        worse = sum(size > best_batch(curve) for size in curve)
        if rows == max_batch or worse >= 2 or clock() - began > _CURVE_SECONDS:
            return curve
        rows = min(rows * 2, max_batch)


def best_batch(curve: Mapping[int, float]) -> int:
    """The smallest batch that no larger one beats clearly in time a row. `curve` is {rows: seconds}, not empty."""
    best = min(curve)
    for rows in sorted(curve):
        if curve[rows] / rows < _WORTH_IT * curve[best] / best:
            best = rows
    return best


def _timed(run: Callable[[], object], clock: Callable[[], float]) -> float:
    began = clock()
    run()
    return clock() - began


def _golden_array(golden: Mapping[str, Array], key: str, tensor: TensorSpec) -> Array:
    try:
        array = golden[key]
    except KeyError as error:
        raise FailedPrecondition(f"the variant's golden file lacks {key}") from error
    return array if tensor.datatype == "BYTES" else array.astype(numpy_dtype(tensor.datatype), copy=False)


def _sizes(tensor: TensorSpec, limits: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(
        axis if isinstance(axis, int) else min(_UNKNOWN_AXIS, limits.get(axis, _UNKNOWN_AXIS)) for axis in tensor.shape
    )


def describe(curve: Mapping[int, float]) -> str:
    """The curve for a log line, in microseconds a row."""
    return ", ".join(f"{rows}: {seconds / rows * 1e6:.0f}" for rows, seconds in sorted(curve.items()))
