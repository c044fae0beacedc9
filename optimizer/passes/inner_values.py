"""Types and shapes of a graph's inner values, as onnxruntime infers them.

The tools that rewrite graphs need them, and onnx's own inference stops at onnxruntime's operators (fused attention), of
which it knows nothing.
"""

import re

import onnx
import onnxruntime as ort

from optimizer.artifact.session import SessionSpec, build, ort_errors
from optimizer.errors import PassFailed
from optimizer.intake.onnx_file import clean, first_line

_TENSOR = re.compile(r"tensor\((\w+)\)")
_ELEMENTS = {
    "float": onnx.TensorProto.FLOAT,
    "float16": onnx.TensorProto.FLOAT16,
    "double": onnx.TensorProto.DOUBLE,
    **{name.lower(): onnx.TensorProto.DataType.Value(name) for name in (
        "BFLOAT16", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64", "BOOL", "STRING"
    )},
}  # fmt: skip


def opened_wide(model: onnx.ModelProto, session: SessionSpec) -> ort.InferenceSession:
    """A session that answers with every value that a node of the outermost graph writes.

    Raises PassFailed when onnxruntime does not load the graph.
    """
    watched = onnx.ModelProto()
    watched.CopyFrom(model)
    present = {value.name for value in watched.graph.output}
    produced = [name for node in watched.graph.node for name in node.output if name and name not in present]
    watched.graph.output.extend(onnx.ValueInfoProto(name=name) for name in produced)
    try:
        return build(watched.SerializeToString(), session)
    except ort_errors() as error:
        raise PassFailed(f"the graph's values cannot be watched: {first_line(error)}") from error


def infer(model: onnx.ModelProto, session: SessionSpec) -> None:
    """Replaces what the graph says of its inner values by what onnxruntime says of them."""
    clean(model)
    present = {value.name for value in model.graph.output}
    for output in opened_wide(model, session).get_outputs():
        found = _TENSOR.fullmatch(output.type)
        if output.name in present or found is None or found[1] not in _ELEMENTS:
            continue
        shape = [axis if isinstance(axis, int | str) else None for axis in output.shape]
        model.graph.value_info.append(onnx.helper.make_tensor_value_info(output.name, _ELEMENTS[found[1]], shape))
