"""Fusion: attention, layer normalisation and GELU subgraphs become onnxruntime's own operators."""

import numpy as np
import onnx
import onnx_ir
from onnxscript.rewriter.ort_fusions import optimize_for_ort

from optimizer.artifact.rows import feeds
from optimizer.artifact.session import build
from optimizer.errors import NotApplicable
from optimizer.intake.onnx_file import name_nodes, read, save
from optimizer.intake.stages import OnnxModel
from optimizer.passes import parity
from optimizer.passes.context import Context
from optimizer.recipe.fuse import Fuse

_PROVED_ROWS = 8


def run(config: Fuse, model: OnnxModel, context: Context) -> OnnxModel:
    """Rewrites the graph. Raises NotApplicable when nothing in it can be fused, PassFailed without parity."""
    rewritten, counts = optimize_for_ort(onnx_ir.from_proto(read(model.path)))
    fused = {name: count for name, count in counts.items() if count}
    if not fused:
        raise NotApplicable("nothing in this graph can be fused: it has no attention, layer normalisation or GELU")
    proto = onnx_ir.to_proto(rewritten)
    _drop_equal_sizes(proto)
    name_nodes(proto)
    result = save(proto, context.directory, model.signature, context.session)
    rows = context.splits.calibration
    count = min(_PROVED_ROWS, len(rows)) if model.signature.batched else 1
    inputs = feeds(rows, model.signature.inputs, np.arange(count))
    expected = build(model.path, context.session).run(None, inputs)
    error = parity.require(expected, build(result.path, context.session).run(None, inputs), "the fused graph")
    context.notes.append("fused " + ", ".join(f"{count} {name}" for name, count in sorted(fused.items())))
    context.notes.append(f"equals the graph before (relative error {error:.1g})")
    return result


def _drop_equal_sizes(model: onnx.ModelProto) -> None:
    """Removes widths of query, key and value that are equal, which is what leaving them out means.

    Dynamic quantisation passes over attention that states them.
    """
    for node in model.graph.node:
        stated = [attribute for attribute in node.attribute if attribute.name == "qkv_hidden_sizes"]
        if node.op_type == "Attention" and stated and len(set(stated[0].ints)) == 1:
            node.attribute.remove(stated[0])
