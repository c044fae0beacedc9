"""What happens between a built session and READY: inputs to try, parity with the golden outputs, the speed curve."""

import time
from collections.abc import Callable, Mapping

import numpy as np

from optimizer.artifact.golden import Golden, parity
from optimizer.artifact.signature import Signature, TensorSpec, numpy_dtype
from service.backends.base import Backend
from service.errors import FailedPrecondition
from service.types import Array

# Size of a named axis that nothing tells: short enough for any model, long enough to be an axis.
_UNKNOWN_AXIS = 8
# Times that every size is timed again; the least counts, since other work on the host can only add.
_SWEEPS = 6
# A larger batch must be faster a row by this much to be worth its latency.
_WORTH_IT = 0.97
_CURVE_SECONDS = 3.0
_ENOUGH_SECONDS = 0.25


def check_parity(backend: Backend, signature: Signature, golden: Golden, max_rows: int) -> None:
    """Runs the golden inputs. Raises FailedPrecondition when the outputs do not agree."""
    inputs = [_golden_input(golden, tensor) for tensor in signature.inputs]
    if signature.batched:
        pieces = [
            backend.run([array[start : start + max_rows] for array in inputs])
            for start in range(0, len(inputs[0]), max_rows)
        ]
        got = [np.concatenate(parts) for parts in zip(*pieces, strict=True)]
    else:
        got = backend.run(inputs)
    names = [tensor.name for tensor in signature.outputs]
    agreement = parity(golden.outputs, dict(zip(names, got, strict=True)))
    if not agreement.ok:
        raise FailedPrecondition(f"no parity with the golden outputs on this host: {agreement.reason}")


def sample(signature: Signature, golden: Golden | None, rows: int) -> list[Array]:
    """Inputs of `rows` rows: the golden ones over and over, or zeros."""
    arrays: list[Array] = []
    for tensor in signature.inputs:
        if golden is not None and golden.inputs.get(tensor.name, np.empty(0)).size:
            known = _golden_input(golden, tensor)
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
    """Times what `prepare(rows)` gives, at 1, 2, 4, ... up to `max_batch` rows; the least of several sweeps counts.

    Other work on the host comes in bursts: sweeps spread one burst over all sizes, so that it does not decide for good
    what is run together. Larger sizes are left out once a quarter second is spent and two were no better, or half of
    the three seconds that all of it may take.
    """
    runs: dict[int, Callable[[], object]] = {}
    curve: dict[int, float] = {}
    began = clock()
    rows = 1
    while True:
        runs[rows] = prepare(rows)
        runs[rows]()  # Memory is planned in the first run of a size.
        curve[rows] = _timed(runs[rows], clock)
        worse = sum(size > best_batch(curve) for size in curve)
        spent = clock() - began
        if rows == max_batch or (worse >= 2 and spent > _ENOUGH_SECONDS) or spent > _CURVE_SECONDS / 2:
            break
        rows = min(rows * 2, max_batch)
    for _ in range(_SWEEPS):
        for size, run in runs.items():
            if clock() - began + curve[size] > _CURVE_SECONDS:
                return curve
            curve[size] = min(curve[size], _timed(run, clock))
    return curve


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


def _golden_input(golden: Golden, tensor: TensorSpec) -> Array:
    if tensor.name not in golden.inputs:
        raise FailedPrecondition(f"the variant's golden file lacks the input '{tensor.name}'")
    # The file has no brain floats and no byte strings of several lengths; the signature says what they are.
    return np.ascontiguousarray(golden.inputs[tensor.name].astype(numpy_dtype(tensor.datatype), copy=False))


def _sizes(tensor: TensorSpec, limits: Mapping[str, int]) -> tuple[int, ...]:
    return tuple(
        axis if isinstance(axis, int) else min(_UNKNOWN_AXIS, limits.get(axis, _UNKNOWN_AXIS)) for axis in tensor.shape
    )


def describe(curve: Mapping[int, float]) -> str:
    """The curve for a log line, in microseconds a row."""
    return ", ".join(f"{rows}: {seconds / rows * 1e6:.0f}" for rows, seconds in sorted(curve.items()))
