"""Inspects a plain ONNX file: bounded, without custom operators, and with external data beside it only."""

from collections.abc import Mapping
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from optimizer.artifact.graph_signature import Declared, class_output_of, declared, name_axes
from optimizer.artifact.inspected import InputFacts, Inspection
from optimizer.artifact.onnx_graph import GraphLimits, check_graph
from optimizer.artifact.rows import RESERVED
from optimizer.artifact.signature import BATCH
from optimizer.artifact.sniff import describe
from optimizer.errors import InvalidCheckpoint

# A protobuf message cannot be longer; larger models keep their weights as external data.
_BYTES = 2**31 - 1
_HARMLESS_SUFFIXES = (".json", ".txt", ".md", ".png", ".jpg", ".jpeg", ".svg", ".csv", ".yaml", ".yml", ".model")
_HARMLESS_NAMES = ("license", "notice", "readme")


def inspect_onnx(name: str, files: Mapping[str, Path], limits: GraphLimits | None = None) -> Inspection:
    """Inspects the ONNX file `name` of `files`. Raises InvalidCheckpoint."""
    path = files[name]
    model = _load(path, name)
    external = {other: file.stat().st_size for other, file in files.items() if other != name}
    found = check_graph(model, name, external, limits or GraphLimits())
    for other, file in sorted(files.items()):
        _check_other(other, file, name, found.external_files)
    inputs, outputs = name_axes(*declared(model))
    clash = sorted({tensor[0] for tensor in inputs} & set(RESERVED))
    if clash:
        raise InvalidCheckpoint(
            f"{name} has an input {clash[0]!r}, a name that data sets use for something else; rename it"
        )
    return Inspection(
        format="onnx",
        kind="tensor",
        head="open",
        classes=_classes(outputs),
        inputs={tensor[0]: _facts(tensor) for tensor in inputs},
        outputs={tensor[0]: _facts(tensor) for tensor in outputs},
        operators=found.operators,
        weights_bytes=path.stat().st_size + sum(external[other] for other in found.external_files),
    )


def _load(path: Path, name: str) -> onnx.ModelProto:
    size = path.stat().st_size
    if size > _BYTES:
        raise InvalidCheckpoint(f"{name} is {size} bytes long; at most {_BYTES} are allowed (use external data beyond)")
    known = describe(path)
    try:
        model = onnx.load_model(str(path), format="protobuf", load_external_data=False)
    # ValueError and UnicodeDecodeError: text fields that are not UTF-8.
    except (DecodeError, ValueError) as error:
        reason = f"it is {known}" if known else "it is cut short or damaged"
        raise InvalidCheckpoint(f"{name} cannot be read as ONNX: {reason}") from error
    if not model.HasField("graph") or not model.opset_import or not (model.graph.node or model.graph.output):
        # Many bytes that are not ONNX still parse as an empty message.
        raise InvalidCheckpoint(f"{name} is not an ONNX model{f': it is {known}' if known else ''}")
    return model


def _check_other(other: str, file: Path, name: str, external_files: frozenset[str]) -> None:
    base = other.rpartition("/")[2].lower()
    harmless = base.endswith(_HARMLESS_SUFFIXES) or base.split(".")[0] in _HARMLESS_NAMES
    if other == name or other in external_files or harmless:
        return
    found = describe(file)
    raise InvalidCheckpoint(
        f"{other} is not referred to by {name}{'' if found is None else f' (it is {found})'}; push the ONNX file with "
        "its external data only"
    )


def _facts(tensor: Declared) -> InputFacts:
    _, datatype, shape = tensor
    return InputFacts(datatype=datatype, shape=shape)


def _classes(outputs: list[Declared]) -> int | None:
    """Number of classes where the graph says it: the one open axis of the scores, leaving out the batch and ones."""
    scores = class_output_of(outputs)
    if scores is None or scores[2] is None:
        return None
    axes = scores[2][1:] if scores[2][:1] in ((BATCH,), (1,)) else scores[2]
    wide = [axis for axis in axes if axis != 1]
    if not wide:
        return 1
    return wide[0] if len(wide) == 1 and isinstance(wide[0], int) else None
