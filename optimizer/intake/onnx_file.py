"""How intake and every pass leave an ONNX file: clean, checked, loadable by the server, its signature as it must be."""

from pathlib import Path

import onnx
from google.protobuf.message import DecodeError, EncodeError

from optimizer.artifact.graph_signature import signature_of
from optimizer.artifact.manifest import MODEL_FILE
from optimizer.artifact.session import SessionSpec, build, ort_errors
from optimizer.artifact.signature import Signature
from optimizer.errors import InvalidCheckpoint, PassFailed, UnsupportedModel
from optimizer.intake.stages import OnnxModel

# protobuf cannot hold more in one message.
_LARGEST_BYTES = 2**31 - 1


def read(path: Path) -> onnx.ModelProto:
    """The whole model, in memory."""
    try:
        return onnx.load(path, load_external_data=False)
    except (DecodeError, OSError, ValueError) as error:
        raise InvalidCheckpoint("the file is not an ONNX model") from error


def clean(model: onnx.ModelProto, *, keep_shapes: bool = False) -> None:
    """Removes what does not change answers: stack traces and source paths, doc strings, and shapes of inner values.

    Exporters write the paths of the machine they ran on into every node. Shapes of inner values go stale when a pass
    rewrites the graph, and quantisers then fail on them; but fusion finds more where it has the exporter's.
    """
    del model.metadata_props[:]
    model.doc_string = ""
    for graph in (model.graph, *subgraphs(model.graph)):
        _clean_graph(graph, keep_shapes)
    for function in model.functions:
        del function.metadata_props[:]
        del function.value_info[:]
        function.doc_string = ""
        for node in function.node:
            _clean_node(node)


def save(
    model: onnx.ModelProto, directory: Path, wanted: Signature, session: SessionSpec, *, keep_shapes: bool = False
) -> OnnxModel:
    """Writes directory/model.onnx, proves that it loads, and returns it.

    Raises PassFailed when the graph is not valid, is refused by onnxruntime, or no longer answers to `wanted`.
    """
    clean(model, keep_shapes=keep_shapes)
    found = signature_of(model, wanted.limits)
    if not wanted.promises(found):
        raise PassFailed(f"the pass changed the model's signature from {_brief(wanted)} to {_brief(found)}")
    path = directory / MODEL_FILE
    if model.ByteSize() > _LARGEST_BYTES:
        raise UnsupportedModel("the model is larger than 2 GiB, which one ONNX file cannot hold")
    try:
        onnx.checker.check_model(model)
        path.write_bytes(model.SerializeToString(deterministic=True))
        build(path, session)
    except (onnx.checker.ValidationError, EncodeError) as error:
        raise PassFailed(f"the pass left a graph that is not valid ONNX: {first_line(error)}") from error
    except ort_errors() as error:
        raise PassFailed(f"onnxruntime cannot load what the pass left: {first_line(error)}") from error
    # What the source's answers are, these are too, whatever rounding now stands behind them.
    return OnnxModel(path, wanted)


def name_nodes(model: onnx.ModelProto) -> None:
    """Gives a unique name to every node that has none, or one that another has too."""
    taken: set[str] = set()
    for position, node in enumerate(model.graph.node):
        if not node.name or node.name in taken:
            node.name = f"{node.op_type}_{position}"
            while node.name in taken:
                node.name += "_"
        taken.add(node.name)


def _clean_graph(graph: onnx.GraphProto, keep_shapes: bool) -> None:
    del graph.metadata_props[:]
    if not keep_shapes:
        del graph.value_info[:]
    graph.doc_string = ""
    for node in graph.node:
        _clean_node(node)
    for value in (*graph.input, *graph.output, *graph.value_info):
        del value.metadata_props[:]
        value.doc_string = ""
    for tensor in graph.initializer:
        del tensor.metadata_props[:]
        tensor.doc_string = ""


def _clean_node(node: onnx.NodeProto) -> None:
    del node.metadata_props[:]
    node.doc_string = ""


def subgraphs(graph: onnx.GraphProto) -> list[onnx.GraphProto]:
    """All graphs inside the nodes of `graph`, at any depth."""
    found = []
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs) if attribute.type in _GRAPHS else ():
                found += [inner, *subgraphs(inner)]
    return found


_GRAPHS = (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)


def _brief(signature: Signature) -> str:
    sides = (signature.inputs, signature.outputs)
    return " -> ".join(", ".join(f"{spec.name} {spec.datatype} {list(spec.shape)}" for spec in side) for side in sides)


def first_line(error: BaseException) -> str:
    """A library's complaint without its stack, for the model's owner."""
    return (str(error).splitlines() or ["no reason given"])[0][:300]
