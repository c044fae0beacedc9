"""Smoothing: outlier channels behind normalisations become smaller, and the weights that read them larger."""

from collections.abc import Sequence

import numpy as np
import onnx
from numpy.typing import NDArray

from optimizer.artifact.rows import feeds
from optimizer.artifact.session import build, ort_errors
from optimizer.errors import NotApplicable, PassFailed
from optimizer.intake.onnx_file import first_line, name_nodes, read, save
from optimizer.intake.stages import OnnxModel
from optimizer.passes import parity
from optimizer.passes.context import Context
from optimizer.passes.normalised import Normalised, matrix_of, move, normalised
from optimizer.passes.smoothing import best, error, factors
from optimizer.recipe.smooth import Smooth

_CHUNK = 16
# Tokens, or patches, of each normalisation on which an error is measured.
_SAMPLED = 512
_PROVED_ROWS = 8

Floats = NDArray[np.float32]


def run(config: Smooth, model: OnnxModel, context: Context) -> OnnxModel:
    """Moves ranges into weights. Raises NotApplicable where nothing can be moved, or nothing is gained by it."""
    proto = read(model.path)
    name_nodes(proto)
    found = normalised(proto)
    if not found:
        raise NotApplicable("there is nothing to smooth: no product with a constant matrix follows a normalisation")
    seen = _seen(proto, found, config.rows, model, context)
    constants = {tensor.name: tensor for tensor in proto.graph.initializer}
    alphas: list[float] = []
    before: list[float] = []
    after: list[float] = []
    for one in found:
        values, low, high = seen[one.output]
        matrix = np.concatenate([matrix_of(product, constants) for product in one.products], axis=1)
        if config.alpha == "auto":
            alpha, reached, plain = best(values, matrix, (low, high))
            if reached > (1 - config.least_gain) * plain:
                continue
        else:
            alpha, plain = config.alpha, error(values, matrix, None, (low, high))
        by = factors(np.maximum(np.abs(low), np.abs(high)), matrix, alpha)
        alphas.append(alpha)
        before.append(plain)
        after.append(error(values, matrix, by, (low, high)))
        move(proto, one, by)
    if not alphas:
        raise NotApplicable(
            f"smoothing gains nothing: in none of {len(found)} normalisations would 8 bits make an error smaller by "
            f"{config.least_gain:.0%}"
        )
    result = save(proto, context.directory, model.signature, context.session)
    distance = _proved(model, result, context)
    context.notes.append(
        f"{len(alphas)} of {len(found)} normalisations smoothed, alpha {min(alphas):g} to {max(alphas):g}; the error "
        f"of their products in 8 bits goes from {np.mean(before):.2g} to {np.mean(after):.2g}"
    )
    added = sum(node.name.endswith("_smooth") for node in proto.graph.node)
    if added:
        context.notes.append(f"{added} more multiplications, since something else reads these normalisations too")
    context.notes.append(f"equals the graph before (relative error {distance:.1g})")
    return result


def _seen(
    proto: onnx.ModelProto, found: Sequence[Normalised], most: int, model: OnnxModel, context: Context
) -> dict[str, tuple[Floats, Floats, Floats]]:
    """Of each normalisation's output: sampled vectors [tokens, channels], each channel's least and largest value."""
    opened = onnx.ModelProto()
    opened.CopyFrom(proto)
    names = [one.output for one in found]
    present = {value.name for value in opened.graph.output}
    opened.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names if name not in present)
    rows = context.splits.calibration
    count = min(most, len(rows))
    size = _CHUNK if model.signature.batched else 1
    each = max(1, _SAMPLED * size // count)
    random = np.random.default_rng(context.seed)
    samples: dict[str, list[Floats]] = {name: [] for name in names}
    lows: dict[str, list[Floats]] = {name: [] for name in names}
    highs: dict[str, list[Floats]] = {name: [] for name in names}
    try:
        session = build(opened.SerializeToString(), context.session)
        for start in range(0, count, size):
            fed = feeds(rows, model.signature.inputs, np.arange(start, min(start + size, count)))
            for name, array in zip(names, session.run(names, fed), strict=True):
                vectors = np.asarray(array, np.float32).reshape(-1, np.shape(array)[-1])
                samples[name].append(vectors[random.permutation(len(vectors))[:each]])
                lows[name].append(vectors.min(axis=0))
                highs[name].append(vectors.max(axis=0))
            context.report(min(1.0, (start + size) / count), message="looking for outliers")
    except ort_errors() as refusal:
        raise PassFailed(f"the graph does not run on the calibration rows: {first_line(refusal)}") from refusal
    return {
        name: (np.concatenate(samples[name]), np.min(lows[name], axis=0), np.max(highs[name], axis=0)) for name in names
    }


def _proved(before: OnnxModel, after: OnnxModel, context: Context) -> float:
    rows = context.splits.calibration
    count = min(_PROVED_ROWS, len(rows)) if before.signature.batched else 1
    fed = feeds(rows, before.signature.inputs, np.arange(count))
    expected, actual = (build(model.path, context.session).run(None, fed) for model in (before, after))
    return parity.require(expected, actual, "the smoothed graph")
