"""The signature of an ONNX graph: names, protocol data types and axes of what goes in and comes out.

The graph has a batch when every input and every output has a first axis without a fixed size, and the name of that
axis, if it has one, stands at no other place (an adjacency matrix [n, n] has no batch).
"""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx

from optimizer.artifact.signature import BATCH, Activation, Signature, TensorSpec, datatype_of
from optimizer.errors import InvalidCheckpoint

# Element types of ONNX that the protocol has, and onnxruntime's kernels take.
_DATATYPES: dict[int, str] = {
    element: datatype_of(np.dtype(onnx.helper.tensor_dtype_to_np_dtype(element)))
    for element in (
        onnx.TensorProto.BOOL, onnx.TensorProto.UINT8, onnx.TensorProto.UINT16, onnx.TensorProto.UINT32,
        onnx.TensorProto.UINT64, onnx.TensorProto.INT8, onnx.TensorProto.INT16, onnx.TensorProto.INT32,
        onnx.TensorProto.INT64, onnx.TensorProto.FLOAT16, onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE,
        onnx.TensorProto.BFLOAT16,
    )
}  # fmt: skip
_FLOATS = ("FP32", "FP16", "FP64", "BF16")

_ACTIVATIONS: dict[str, Activation] = {"Sigmoid": "sigmoid", "Softmax": "softmax"}
_SAME_VALUES = ("Identity", "Cast", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Transpose")

# One side of a graph as declared: name, data type, axes (None: not even their number is known; "": no name, no size).
Declared = tuple[str, str, tuple[int | str, ...] | None]


def signature_of(model: onnx.ModelProto, limits: Mapping[str, int] | None = None) -> Signature:
    """The signature of a graph. Infers the shapes of outputs that the file leaves open (runs onnx's C++ code on it).

    `limits` are the largest sizes of named axes. Raises InvalidCheckpoint for what the protocol cannot say.
    """
    inputs, outputs = declared(model)
    if any(shape is None for _, _, shape in outputs):
        inputs, outputs = declared(_inferred(model))
    for side, tensors in (("input", inputs), ("output", outputs)):
        for name, _, shape in tensors:
            if shape is None:
                raise InvalidCheckpoint(
                    f"the graph does not say how many axes its {side} {name!r} has; export it with shape information"
                )
    known_inputs, known_outputs = name_axes(inputs, outputs)
    scores = class_output_of(known_outputs)
    return Signature(
        inputs=tuple(_spec(tensor) for tensor in known_inputs),
        outputs=tuple(_spec(tensor) for tensor in known_outputs),
        limits=dict(limits or {}),
        activation="none" if scores is None else _activation(model, scores[0]),
    )


def class_output(signature: Signature) -> TensorSpec:
    """The output that holds one score a class: the first floating one (some exporters put a label before it).

    Raises InvalidCheckpoint when no output is floating.
    """
    for spec in signature.outputs:
        if spec.datatype in _FLOATS:
            return spec
    raise InvalidCheckpoint(
        "the graph has no floating-point output to read class scores from; its outputs are "
        + ", ".join(f"{spec.name} ({spec.datatype})" for spec in signature.outputs)
    )


def class_output_of(outputs: Sequence[Declared]) -> Declared | None:
    """The same choice as `class_output`, of a graph's declared outputs; None when no output is floating."""
    return next((tensor for tensor in outputs if tensor[1] in _FLOATS), None)


def declared(model: onnx.ModelProto) -> tuple[list[Declared], list[Declared]]:
    """Inputs (without those that only name initializers) and outputs, as the file declares them."""
    constants = {tensor.name for tensor in model.graph.initializer}
    constants.update(tensor.values.name for tensor in model.graph.sparse_initializer)
    inputs = [_declared(value, "input") for value in model.graph.input if value.name not in constants]
    outputs = [_declared(value, "output") for value in model.graph.output]
    for side, tensors in (("input", inputs), ("output", outputs)):
        if not tensors:
            raise InvalidCheckpoint(f"the graph has no {side}")
        names = [name for name, _, _ in tensors]
        if len(set(names)) != len(names):
            raise InvalidCheckpoint(f"the graph names two {side}s alike: {names}")
    return inputs, outputs


def name_axes(inputs: Sequence[Declared], outputs: Sequence[Declared]) -> tuple[list[Declared], list[Declared]]:
    """Gives each open axis a name: "batch" to the first of all tensors where that is the batch, else its own."""
    everything = [*inputs, *outputs]
    batched = _has_batch(everything)
    taken = {axis for _, _, shape in everything for axis in shape or () if isinstance(axis, str)}

    def named(tensor: Declared) -> Declared:
        name, datatype, shape = tensor
        if shape is None:
            return tensor
        axes: list[int | str] = []
        for position, axis in enumerate(shape):
            if batched and position == 0:
                axes.append(BATCH)
            elif axis == BATCH:
                # The file's own use of the word, where it does not mean what it means here.
                axes.append(_free(f"{name}_{position}", taken))
            else:
                axes.append(axis if axis != "" else _free(f"{name}_{position}", taken))
        return name, datatype, tuple(axes)

    return [named(tensor) for tensor in inputs], [named(tensor) for tensor in outputs]


def _has_batch(tensors: Sequence[Declared]) -> bool:
    leading: set[str] = set()
    elsewhere: set[str] = set()
    for _, _, shape in tensors:
        if not shape or not isinstance(shape[0], str):
            return False
        leading.add(shape[0])
        elsewhere.update(axis for axis in shape[1:] if isinstance(axis, str))
    return not (leading & elsewhere) - {""}


def _free(wish: str, taken: set[str]) -> str:
    name = wish
    while name in taken:
        name += "_"
    return name


def _declared(value: onnx.ValueInfoProto, side: str) -> Declared:
    # Protobuf gives text that is not UTF-8 as bytes.
    if not isinstance(value.name, str) or not 0 < len(value.name) <= 256 or not value.name.isprintable():
        raise InvalidCheckpoint(f"the graph has an {side} without a usable name: {value.name[:40]!r}")
    if value.type.WhichOneof("value") != "tensor_type":
        kind = (value.type.WhichOneof("value") or "unknown").removesuffix("_type")
        raise InvalidCheckpoint(
            f"{side} {value.name!r} is a {kind}, not a tensor; only tensors can be served "
            "(scikit-learn models: export with options={'zipmap': False})"
        )
    tensor = value.type.tensor_type
    if tensor.elem_type not in _DATATYPES:
        names = onnx.TensorProto.DataType
        found = names.Name(tensor.elem_type) if tensor.elem_type in names.values() else str(tensor.elem_type)
        raise InvalidCheckpoint(
            f"{side} {value.name!r} has elements of type {found}; allowed are {', '.join(sorted(_DATATYPES.values()))}"
        )
    if not tensor.HasField("shape"):
        return value.name, _DATATYPES[tensor.elem_type], None
    axes: list[int | str] = []
    for dimension in tensor.shape.dim:
        if dimension.HasField("dim_value") and dimension.dim_value >= 0:
            if dimension.dim_value == 0:
                raise InvalidCheckpoint(f"{side} {value.name!r} has an axis of size 0")
            axes.append(dimension.dim_value)
        else:
            # Some exporters write -1 where they mean an open axis.
            if not isinstance(dimension.dim_param, str) or not dimension.dim_param[:80].isprintable():
                raise InvalidCheckpoint(f"{side} {value.name!r} has an axis without a usable name")
            axes.append(dimension.dim_param[:80])
    return value.name, _DATATYPES[tensor.elem_type], tuple(axes)


def _inferred(model: onnx.ModelProto) -> onnx.ModelProto:
    try:
        return onnx.shape_inference.infer_shapes(model)
    except (onnx.shape_inference.InferenceError, RuntimeError, ValueError) as error:
        raise InvalidCheckpoint("the graph's shapes contradict each other") from error


def _activation(model: onnx.ModelProto, output: str) -> Activation:
    """What the graph's last step is that changes values."""
    makers = {name: node for node in model.graph.node for name in node.output}
    # Nodes are at most as many as steps back.
    for _ in range(len(model.graph.node)):
        node = makers.get(output)
        if node is None or node.domain not in ("", "ai.onnx") or not node.input:
            break
        if node.op_type in _ACTIVATIONS:
            return _ACTIVATIONS[node.op_type]
        if node.op_type not in _SAME_VALUES:
            break
        output = node.input[0]
    return "none"


def _spec(tensor: Declared) -> TensorSpec:
    name, datatype, shape = tensor
    return TensorSpec(name=name, datatype=datatype, shape=shape or ())
