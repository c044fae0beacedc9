"""Ranges of activations on calibration rows, streamed: memory is bounded by a cap, whatever the number of rows.

Two passes over the rows. In the first the graph itself reduces every watched tensor to its least and its largest value;
in the second, which only histograms need, watched tensors come out in chunks of rows (and, where one row is too large,
in groups of tensors) that fit under the cap, and are counted and forgotten.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper
from onnxruntime.quantization import CalibrationMethod
from onnxruntime.quantization.calibrate import TensorsData

from optimizer.artifact.rows import feeds
from optimizer.artifact.session import build, ort_errors
from optimizer.errors import PassFailed
from optimizer.intake.onnx_file import first_line
from optimizer.intake.stages import OnnxModel
from optimizer.passes.context import Context
from optimizer.passes.histogram import Histogram
from optimizer.recipe.quantize import QuantizeStatic

_MOST_ROWS = 32
_BYTES = 4
_MIB = 2**20
_KINDS = ("ReduceMin", "ReduceMax", "Size")

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Chunks:
    """How rows and tensors are cut so that what is in memory together stays under the cap."""

    rows: int
    groups: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Calibrated:
    """Ranges by tensor, the rows they were seen on, and the most bytes of watched activations held at once."""

    ranges: TensorsData
    rows: int
    peak_bytes: int


def plan(sizes: Mapping[str, int], cap_bytes: int, most_rows: int) -> Chunks:
    """Chunks for tensors of these sizes (bytes a row): as many rows as fit; where one does not, tensors in groups.

    A tensor of which a single row is larger than the cap is a group of its own.
    """
    total = sum(sizes.values())
    if total <= cap_bytes:
        return Chunks(max(1, min(most_rows, cap_bytes // max(total, 1))), (tuple(sizes),))
    groups: list[list[str]] = []
    room = 0
    for name, size in sizes.items():
        if not groups or size > room:
            groups.append([])
            room = cap_bytes
        groups[-1].append(name)
        room -= size
    return Chunks(1, tuple(tuple(group) for group in groups))


def watched(proto: onnx.ModelProto, operators: Sequence[str]) -> list[str]:
    """Float tensors, computed or fed, that nodes of these operators read or write."""
    values = (*proto.graph.value_info, *proto.graph.input, *proto.graph.output)
    floats = {value.name for value in values if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT}
    constants = {tensor.name for tensor in proto.graph.initializer}
    touched = [
        name for node in proto.graph.node if node.op_type in operators for name in (*node.input, *node.output) if name
    ]
    return [name for name in dict.fromkeys(touched) if name in floats and name not in constants]


def calibrate(
    proto: onnx.ModelProto, operators: Sequence[str], config: QuantizeStatic, model: OnnxModel, context: Context
) -> Calibrated:
    """Ranges of every float tensor of `operators`; `proto` must say the types of its inner values.

    Raises PassFailed when the graph does not run on the rows or a value is NaN or infinite.
    """
    tensors = watched(proto, operators)
    rows = min(config.rows, len(context.splits.calibration))
    try:
        return _calibrated(proto, tensors, rows, config, model, context)
    except ort_errors() as error:
        raise PassFailed(f"the graph does not run on the calibration rows: {first_line(error)}") from error


def _calibrated(
    proto: onnx.ModelProto, tensors: list[str], rows: int, config: QuantizeStatic, model: OnnxModel, context: Context
) -> Calibrated:
    cap = config.memory_mib * _MIB
    most = _MOST_ROWS if model.signature.batched else 1
    reduced = build(_reducing(proto, tensors).SerializeToString(), context.session)

    def extremes(start: int, end: int) -> Arrays:
        names = [f"{name}.{kind}" for name in tensors for kind in _KINDS]
        return dict(zip(names, reduced.run(names, _fed(model, context, start, end)), strict=True))

    # One row alone says how large each tensor is.
    first = extremes(0, 1)
    sizes = {name: int(first[f"{name}.Size"]) * _BYTES for name in tensors}
    chunks = plan(sizes, cap, most)
    lowest = {name: float(first[f"{name}.ReduceMin"]) for name in tensors}
    highest = {name: float(first[f"{name}.ReduceMax"]) for name in tensors}
    for start, end in _spans(rows, chunks.rows):
        found = extremes(start, end)
        for name in tensors:
            lowest[name] = min(lowest[name], float(found[f"{name}.ReduceMin"]))
            highest[name] = max(highest[name], float(found[f"{name}.ReduceMax"]))
        context.report(end / rows / (1 if config.calibration == "minmax" else 2), message="calibrating")
    for name in tensors:
        if not np.isfinite([lowest[name], highest[name]]).all():
            raise PassFailed(f"value {name!r} is NaN or infinite on calibration rows, so it has no range")
    peak = max(sum(sizes[name] for name in group) for group in chunks.groups) * chunks.rows if tensors else 0
    bounds = {name: (lowest[name], highest[name]) for name in tensors}
    if config.calibration != "minmax":
        histograms = {name: Histogram.empty(*bounds[name]) for name in tensors}
        peak = _count(proto, histograms, rows, chunks, model, context)
        bounds = {
            name: one.by_entropy() if config.calibration == "entropy" else one.by_percentile()
            for name, one in histograms.items()
        }
    return Calibrated(_ranges(bounds), rows, peak)


def _count(
    proto: onnx.ModelProto,
    histograms: dict[str, Histogram],
    rows: int,
    chunks: Chunks,
    model: OnnxModel,
    context: Context,
) -> int:
    """Fills the histograms; returns the most bytes that were held at once."""
    opened = onnx.ModelProto()
    opened.CopyFrom(proto)
    present = {value.name for value in opened.graph.output} | {value.name for value in opened.graph.input}
    opened.graph.output.extend(onnx.ValueInfoProto(name=name) for name in histograms if name not in present)
    session = build(opened.SerializeToString(), context.session)
    peak = 0
    for start, end in _spans(rows, chunks.rows):
        fed = _fed(model, context, start, end)
        for group in chunks.groups:
            computed = [name for name in group if name not in fed]
            arrays = {name: fed[name] for name in group if name in fed}
            arrays.update(zip(computed, session.run(computed, fed) if computed else [], strict=True))
            peak = max(peak, sum(array.nbytes for array in arrays.values()))
            for name, array in arrays.items():
                histograms[name].add(array)
            # Freed before the next group is computed.
            del arrays
        context.report((1 + end / rows) / 2, message="calibrating")
    return peak


def _reducing(proto: onnx.ModelProto, tensors: Sequence[str]) -> onnx.ModelProto:
    """The graph with the least and largest value and the size of each tensor as further outputs."""
    opened = onnx.ModelProto()
    opened.CopyFrom(proto)
    for name in tensors:
        for kind in _KINDS:
            output = f"{name}.{kind}"
            node = helper.make_node(kind, [name], [output], output)
            if kind != "Size":
                node.attribute.append(helper.make_attribute("keepdims", 0))
            opened.graph.node.append(node)
            opened.graph.output.append(onnx.ValueInfoProto(name=output))
    return opened


def _fed(model: OnnxModel, context: Context, start: int, end: int) -> Arrays:
    return feeds(context.splits.calibration, model.signature.inputs, np.arange(start, end))


def _spans(rows: int, size: int) -> Iterator[tuple[int, int]]:
    for start in range(0, rows, size):
        yield start, min(start + size, rows)


def _ranges(bounds: Mapping[str, tuple[float, float]]) -> TensorsData:
    return TensorsData(
        # However they were found, they are a least and a largest value to the quantiser.
        CalibrationMethod.MinMax,
        {name: (np.array(low, np.float32), np.array(high, np.float32)) for name, (low, high) in bounds.items()},
    )
