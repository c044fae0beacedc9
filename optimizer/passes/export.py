"""Export: torch.export's graph becomes one clean ONNX file, proved equal at batch sizes that it was not traced with."""

import warnings
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor

from optimizer.artifact.graph_signature import class_output, signature_of
from optimizer.artifact.rows import Rows, feeds
from optimizer.artifact.session import build
from optimizer.artifact.signature import BATCH, Signature, TensorSpec
from optimizer.errors import PassFailed, UnsupportedModel
from optimizer.intake.onnx_file import save
from optimizer.intake.predictor import Predictor, predictor_of
from optimizer.intake.stages import OnnxModel, TorchModel
from optimizer.passes import parity
from optimizer.passes.context import Context
from optimizer.passes.equal_weights import store_once
from optimizer.recipe.export import Export

# The batch that is traced, and those that prove that it was not baked in.
_TRACED = 2
_FOREIGN = (1, 5)
# What the answer is called while the graph is written: a name that no inner value has.
_OUTPUT = "answer_of_the_network"


def run(config: Export, model: TorchModel, context: Context) -> OnnxModel:
    """Exports `model`. Raises UnsupportedModel when an operation has no ONNX form, PassFailed without parity."""
    predictor = predictor_of(model).eval()
    rows = context.splits.calibration
    proto = graph_of(predictor, model, example(rows, model.inputs), config.opset, output_name(model, context))
    context.report(0.8, message="proving parity")
    signature = signature_of(proto, model.limits)
    require_free_axes(model, signature)
    exported = save(proto, context.directory, signature, context.session, keep_shapes=True)
    context.notes.append(_proved(predictor, model, exported, context))
    return exported


def output_name(model: TorchModel, context: Context) -> str:
    """What the graph calls its answer: a student of an ONNX checkpoint uses the checkpoint's own name."""
    graph = context.references.graph
    return model.output if graph is None else class_output(graph().signature).name


def graph_of(
    predictor: Predictor, model: TorchModel, inputs: tuple[Tensor, ...], opset: int, output: str
) -> onnx.ModelProto:
    """The graph of `predictor`, which takes what `model` takes. Raises UnsupportedModel when it cannot be exported."""
    with warnings.catch_warnings():
        # The exporter warns of its own internals.
        warnings.simplefilter("ignore")
        try:
            program = torch.onnx.export(
                predictor,
                inputs,
                dynamo=True,
                opset_version=opset,
                input_names=[spec.name for spec in model.inputs],
                output_names=[_OUTPUT],
                dynamic_shapes=free_axes(model),
                external_data=False,
                verbose=False,
            )
        except (
            torch.onnx.OnnxExporterError,
            torch._dynamo.exc.TorchDynamoException,
            RuntimeError,
            ValueError,
        ) as error:
            raise UnsupportedModel(f"the model cannot be exported to ONNX: {_cause(error)}") from error
    assert program is not None
    proto: onnx.ModelProto = program.model_proto
    _rename(proto.graph, {output: f"{output}_inside", _OUTPUT: output})
    store_once(proto)
    return proto


def _rename(graph: onnx.GraphProto, names: Mapping[str, str]) -> None:
    """Renames values wherever they stand; the exporter may have given an inner value the name of the answer."""
    for node in graph.node:
        for side in (node.input, node.output):
            side[:] = [names.get(name, name) for name in side]
    for value in (*graph.output, *graph.value_info):
        value.name = names.get(value.name, value.name)
    for tensor in graph.initializer:
        tensor.name = names.get(tensor.name, tensor.name)


def free_axes(model: TorchModel) -> tuple[tuple[dict[int, Any], ...]]:
    """The named axes of a predictor's inputs, as `torch.export` wants them told."""
    dimensions: dict[str, Any] = {BATCH: torch.export.Dim(BATCH)}
    for name, limit in model.limits.items():
        dimensions[name] = torch.export.Dim(name, max=limit)
    axes = tuple(
        {position: _dimension(axis, dimensions) for position, axis in enumerate(spec.shape) if isinstance(axis, str)}
        for spec in model.inputs
    )
    # One entry for the forward's only parameter, `*tensors`.
    return (axes,)


def _dimension(axis: str, dimensions: dict[str, Any]) -> Any:
    return dimensions.setdefault(axis, torch.export.Dim(axis))


def example(rows: Rows, inputs: tuple[TensorSpec, ...]) -> tuple[Tensor, ...]:
    """Two rows to trace a network with."""
    return tuple(torch.from_numpy(array) for array in _feeds(rows, inputs, _TRACED).values())


def require_free_axes(model: TorchModel, signature: Signature) -> None:
    """The graph must take exactly what the network takes: the exporter sometimes fixes an axis without a word."""
    if signature.inputs != model.inputs:
        found = ", ".join(f"{spec.name} {list(spec.shape)}" for spec in signature.inputs)
        wanted = ", ".join(f"{spec.name} {list(spec.shape)}" for spec in model.inputs)
        raise PassFailed(f"the exported graph takes {found} instead of {wanted}")
    if not signature.batched:
        raise PassFailed("the exported graph's answer has no batch axis")


def _proved(predictor: Predictor, model: TorchModel, exported: OnnxModel, context: Context) -> str:
    worst = 0.0
    for batch, expected, actual in foreign_answers(predictor, model, exported, context):
        worst = max(worst, parity.require([expected], [actual], f"the exported graph at batch {batch}"))
    return f"equals the network at batch {' and '.join(map(str, _FOREIGN))} (relative error {worst:.1g})"


def foreign_answers(
    predictor: Predictor, model: TorchModel, exported: OnnxModel, context: Context
) -> Iterator[tuple[int, NDArray[Any], NDArray[Any]]]:
    """At every batch size that was not traced: the size, what `predictor` answers, and what the graph answers."""
    session = build(exported.path, context.session)
    for batch in _FOREIGN:
        inputs = _shorter(_feeds(context.splits.calibration, model.inputs, batch), model.inputs, batch)
        with torch.inference_mode():
            expected = predictor(*(torch.from_numpy(array) for array in inputs.values())).numpy()
        yield batch, expected, session.run(None, inputs)[0]


def _feeds(rows: Rows, inputs: tuple[TensorSpec, ...], batch: int) -> dict[str, NDArray[Any]]:
    return feeds(rows, inputs, np.resize(np.arange(len(rows)), batch))


def _shorter(arrays: dict[str, NDArray[Any]], inputs: tuple[TensorSpec, ...], batch: int) -> dict[str, NDArray[Any]]:
    """At batch 1, free axes other than the batch are halved: their size must not be baked in either."""
    if batch != 1:
        return arrays
    halved = {}
    for spec in inputs:
        array = arrays[spec.name]
        cut = tuple(
            slice(0, max(1, size // 2)) if isinstance(axis, str) and axis != BATCH else slice(None)
            for axis, size in zip(spec.shape, array.shape, strict=True)
        )
        halved[spec.name] = np.ascontiguousarray(array[cut])
    return halved


def _cause(error: BaseException) -> str:
    """The innermost cause's first line; the exporter wraps it in pages of advice."""
    while error.__cause__ is not None:
        error = error.__cause__
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
