"""Fusion: attention, layer normalisation and GELU subgraphs become onnxruntime's own operators."""

import numpy as np
import onnx
import onnx_ir
from onnxscript.optimizer import fold_constants
from onnxscript.rewriter.ort_fusions import optimize_for_ort

from optimizer.artifact.rows import feeds
from optimizer.artifact.session import build
from optimizer.errors import NotApplicable
from optimizer.intake.onnx_file import name_nodes, read, save
from optimizer.intake.stages import OnnxModel
from optimizer.passes import parity
from optimizer.passes.apart import take_apart
from optimizer.passes.context import Context
from optimizer.passes.speed import times_faster
from optimizer.recipe.fuse import Fuse

_PROVED_ROWS = 8
_UNLIMITED = 2**31
# What the rewriter calls the joined sums that `take_apart` undoes.
_JOINED_SUMS = ("skip_layer_normalization", "bias_gelu")


def run(config: Fuse, model: OnnxModel, context: Context) -> OnnxModel:
    """Rewrites the graph. Raises NotApplicable when nothing in it can be fused, PassFailed without parity."""
    rewritten, counts = optimize_for_ort(onnx_ir.from_proto(read(model.path)))
    fused = {name: count for name, count in counts.items() if count}
    if not fused:
        raise NotApplicable("nothing in this graph can be fused: it has no attention, layer normalisation or GELU")
    # Fused attention reads its three matrices through a Concat; a quantiser must find one constant matrix there.
    fold_constants(rewritten, input_size_limit=_UNLIMITED, output_size_limit=_UNLIMITED)
    proto = onnx_ir.to_proto(rewritten)
    _drop_equal_sizes(proto)
    name_nodes(proto)
    if config.sums == "apart" or (config.sums == "auto" and _faster_apart(proto, model, context)):
        fused = {name: count for name, count in fused.items() if name not in _JOINED_SUMS}
        context.notes.append(f"{take_apart(proto)} sums stay apart from what follows them")
    result = save(proto, context.directory, model.signature, context.session)
    rows = context.splits.calibration
    count = min(_PROVED_ROWS, len(rows)) if model.signature.batched else 1
    inputs = feeds(rows, model.signature.inputs, np.arange(count))
    expected = build(model.path, context.session).run(None, inputs)
    error = parity.require(expected, build(result.path, context.session).run(None, inputs), "the fused graph")
    context.notes.append(
        "fused " + (", ".join(f"{count} {name}" for name, count in sorted(fused.items())) or "nothing")
    )
    context.notes.append(f"equals the graph before (relative error {error:.1g})")
    return result


def _faster_apart(proto: onnx.ModelProto, model: OnnxModel, context: Context) -> bool:
    """Whether this host is faster with sums of their own, beyond the noise of a short measurement."""
    apart = onnx.ModelProto()
    apart.CopyFrom(proto)
    if context.session.target != "cpu" or take_apart(apart) == 0:
        return False
    return times_faster(apart.SerializeToString(), proto.SerializeToString(), model.signature, context).low > 1


def _drop_equal_sizes(model: onnx.ModelProto) -> None:
    """Removes widths of query, key and value that are equal, which is what leaving them out means.

    Dynamic quantisation passes over attention that states them.
    """
    for node in model.graph.node:
        stated = [attribute for attribute in node.attribute if attribute.name == "qkv_hidden_sizes"]
        if node.op_type == "Attention" and stated and len(set(stated[0].ints)) == 1:
            node.attribute.remove(stated[0])
