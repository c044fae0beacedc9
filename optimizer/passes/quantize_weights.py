"""Weight-only quantisation: matrices and tables in 8 or 4 bits, everything that is computed with them in float."""

from collections.abc import Sequence

import onnx
from onnxruntime.quantization.onnx_model import ONNXModel

from optimizer.errors import NotApplicable
from optimizer.intake.onnx_file import name_nodes, read, save
from optimizer.intake.stages import OnnxModel
from optimizer.passes.context import Context
from optimizer.passes.inner_values import infer
from optimizer.passes.integer_types import integer_weights
from optimizer.passes.lookup_tables import lookups
from optimizer.passes.partial import Partial, Settled, told
from optimizer.passes.quantisable import Quantisable, quantisable, require_known
from optimizer.passes.speed import times_faster
from optimizer.passes.weight_bits import WeightBits
from optimizer.recipe.quantize_weights import QuantizeWeights

# Kinds of nodes that 4 bits are tried for.
_MOST_KINDS = 8
# How many times as fast the graph must at least be with 4 bits, in the measurement's upper end.
_NO_SLOWER = 0.98


def run(config: QuantizeWeights, model: OnnxModel, context: Context) -> OnnxModel:
    """Rounds weights. Raises NotApplicable when there are none, or when the file would not become smaller."""
    proto = read(model.path)
    # The tool knows products of matrices alone.
    ONNXModel(proto).replace_gemm_with_matmul()
    name_nodes(proto)
    infer(proto, context.session)
    nodes = [*quantisable(proto, ("MatMul",)), *(lookups(proto) if config.embeddings else [])]
    if not nodes:
        raise NotApplicable("there is nothing to round: the graph has no product with a constant matrix and no table")
    require_known(config.float_nodes, nodes)
    bits = {node.name: 4 if config.bits == 4 else 8 for node in nodes}
    # The search sees what is written into `bits` later.
    search = Partial(config, model, context, nodes, WeightBits(proto, bits, config.block_size))
    settled = search.settle()
    if config.bits == "auto":
        settled = _narrowed(search, settled, bits, context)
    before, after = model.path.stat().st_size, settled.proto.ByteSize()
    if after >= before:
        raise NotApplicable(f"the file would have {after} bytes, and it has {before}")
    narrow = sum(bits[name] == 4 for name in settled.integer)
    context.notes.append(
        f"{integer_weights(settled.proto)} matrices and tables in integers, {narrow} of them in 4 bits; "
        f"{after / 1e6:.3g} MB instead of {before / 1e6:.3g} MB"
    )
    context.notes.extend(told(settled, nodes, config))
    attention = sum(node.op_type in ("Attention", "MultiHeadAttention") for node in proto.graph.node)
    if attention:
        context.notes.append(f"{attention} fused attention blocks stay in float: leave `fuse` out for a smaller file")
    return save(settled.proto, context.directory, model.signature, context.session)


def _narrowed(search: Partial, settled: Settled, bits: dict[str, int], context: Context) -> Settled:
    """With 4 bits for those kinds of nodes, most weights first, that the budget and the clock allow."""
    for kind, names in list(_kinds(search.nodes, settled.integer).items())[:_MOST_KINDS]:
        bits.update(dict.fromkeys(names, 4))
        proto = search.build(settled.integer)
        score = search.score(proto)
        if score < min(settled.score, search.allowed) or _slower(proto, settled.proto, search, context):
            bits.update(dict.fromkeys(names, 8))
            continue
        context.notes.append(f"{len(names)} nodes ({kind}) in 4 bits")
        settled = Settled(proto, settled.integer, score, settled.source_score, settled.speed)
    speed = times_faster(settled.proto.SerializeToString(), search.model.path, search.model.signature, context)
    search.clear()
    return Settled(settled.proto, settled.integer, settled.score, settled.source_score, speed)


def _slower(proto: onnx.ModelProto, than: onnx.ModelProto, search: Partial, context: Context) -> bool:
    graphs = (proto.SerializeToString(), than.SerializeToString())
    return times_faster(*graphs, search.model.signature, context).high < _NO_SLOWER


def _kinds(nodes: Sequence[Quantisable], integer: frozenset[str]) -> dict[str, list[str]]:
    """Names of nodes in integers by kind of work, the kind with the largest matrices first."""
    kinds: dict[str, list[str]] = {}
    for node in sorted(nodes, key=lambda node: -node.size):
        if node.name in integer:
            kinds.setdefault(node.kind, []).append(node.name)
    return kinds
