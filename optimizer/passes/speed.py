"""Which of two graphs is faster on this host: short alternating pairs in the session that serving builds."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from optimizer.artifact.rows import feeds
from optimizer.artifact.session import build, ort_errors
from optimizer.artifact.signature import Signature
from optimizer.errors import PassFailed
from optimizer.intake.onnx_file import first_line
from optimizer.metrics.intervals import Interval, median_interval
from optimizer.passes.context import Context

Clock = Callable[[], int]

# A pair is a few calls of one graph and as many of the other; so many pairs make an interval that a pass can act on.
_PAIRS = 15
_WARM_UP_CALLS = 3
_MOST_CALLS = 50


def times_faster(
    graph: Path | bytes,
    than: Path | bytes,
    signature: Signature,
    context: Context,
    seconds: float = 0.4,
    clock: Clock = time.perf_counter_ns,
) -> Interval:
    """The other graph's time divided by this one's for one row, with a 95% interval; above 1, `graph` is faster.

    It steers what a pass tries, on about `seconds` of calls beside whatever else the host does. What is claimed of a
    variant is measured later, at length. Raises PassFailed when one of the two does not run.
    """
    inputs = feeds(context.splits.calibration, signature.inputs, np.arange(1))
    try:
        one, other = (_calls(build(model, context.session), inputs) for model in (graph, than))
        for _ in range(_WARM_UP_CALLS):
            begin = clock()
            one()
            other()
            together = max(clock() - begin, 1)
        calls = max(1, min(_MOST_CALLS, int(seconds * 1e9 / (_PAIRS * together))))
        return median_interval([_pair(one, other, calls, number, clock) for number in range(_PAIRS)])
    except ort_errors() as error:
        raise PassFailed(f"the graph does not run on a calibration row: {first_line(error)}") from error


def _calls(session: ort.InferenceSession, inputs: Mapping[str, NDArray[Any]]) -> Callable[[], object]:
    return lambda: session.run(None, inputs)


def _pair(one: Callable[[], object], other: Callable[[], object], calls: int, number: int, clock: Clock) -> float:
    """One ratio. Who begins changes from pair to pair, so that a host that slows down favours nobody."""
    if number % 2:
        mine = _block(one, calls, clock)
        return _block(other, calls, clock) / mine
    theirs = _block(other, calls, clock)
    return theirs / _block(one, calls, clock)


def _block(call: Callable[[], object], calls: int, clock: Clock) -> float:
    taken = []
    for _ in range(calls):
        begin = clock()
        call()
        taken.append(clock() - begin)
    return max(median(taken), 1)
