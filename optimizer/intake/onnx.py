"""Opens an uploaded ONNX checkpoint: external data is folded in, and what does not change answers is removed.

External data is read from the checkpoint's own files by name, never from a path: a graph that points elsewhere finds
nothing.
"""

import posixpath
from collections.abc import Iterator, Mapping
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from optimizer.artifact.graph_signature import signature_of
from optimizer.artifact.session import SessionSpec
from optimizer.errors import InvalidCheckpoint
from optimizer.intake.onnx_file import save, subgraphs
from optimizer.intake.stages import Checkpoint, OnnxModel


def load(checkpoint: Checkpoint, directory: Path, session: SessionSpec) -> OnnxModel:
    """Writes directory/model.onnx and returns it.

    Raises InvalidCheckpoint for a file that is no ONNX model or whose external data is not there, PassFailed for one
    that onnxruntime does not load.
    """
    names = [name for name in checkpoint.files if name.endswith(".onnx")]
    if len(names) != 1:
        raise InvalidCheckpoint(f"an ONNX checkpoint holds one .onnx file; this one holds {len(names)}")
    try:
        model = onnx.load(checkpoint.files[names[0]], load_external_data=False)
    except (DecodeError, OSError, ValueError) as error:
        raise InvalidCheckpoint(f"{names[0]} is not an ONNX model") from error
    folder = posixpath.dirname(names[0])
    for tensor in _tensors(model):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            _fold(tensor, folder, checkpoint.files)
    signature = signature_of(model, checkpoint.inspection.limits)
    return save(model, directory, signature, session, keep_shapes=True)


def _fold(tensor: onnx.TensorProto, folder: str, files: Mapping[str, Path]) -> None:
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = posixpath.normpath(posixpath.join(folder, entries.get("location", "")))
    if location not in files:
        raise InvalidCheckpoint(f"weight {tensor.name[:80]!r} lies in {location[:80]!r}, which the checkpoint lacks")
    size = files[location].stat().st_size
    try:
        offset = int(entries.get("offset", "0"))
        length = int(entries["length"]) if "length" in entries else size - offset
    except ValueError:
        offset = length = -1
    if offset < 0 or length < 0 or offset + length > size:
        raise InvalidCheckpoint(f"weight {tensor.name[:80]!r} lies outside {location[:80]!r}, which has {size} bytes")
    with files[location].open("rb") as stream:
        stream.seek(offset)
        tensor.raw_data = stream.read(length)
    del tensor.external_data[:]
    tensor.data_location = onnx.TensorProto.DEFAULT


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    for graph in (model.graph, *subgraphs(model.graph)):
        yield from graph.initializer
        for sparse in graph.sparse_initializer:
            yield sparse.values
            yield sparse.indices
        for node in graph.node:
            yield from _constants(node)
    for function in model.functions:
        for node in function.node:
            yield from _constants(node)


def _constants(node: onnx.NodeProto) -> Iterator[onnx.TensorProto]:
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.TENSOR:
            yield attribute.t
        yield from attribute.tensors
