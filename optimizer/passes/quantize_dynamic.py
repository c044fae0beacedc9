"""Dynamic quantisation: weights become int8 ahead of time, activations as they come."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnxruntime.quantization import quantize_dynamic
from onnxruntime.quantization.onnx_model import ONNXModel
from onnxruntime.quantization.quant_utils import add_pre_process_metadata

from optimizer.errors import NotApplicable
from optimizer.intake.onnx_file import name_nodes, read, save
from optimizer.intake.stages import OnnxModel
from optimizer.passes.context import Context
from optimizer.passes.inner_values import infer
from optimizer.passes.integer_types import IntegerTypes, choose, integer_weights
from optimizer.passes.lookup_tables import WithTables, lookups
from optimizer.passes.partial import Partial, told
from optimizer.passes.quantisable import quantisable, require_known
from optimizer.recipe.quantize import QuantizeDynamic

# Attention is onnxruntime's fused operator, which holds the weights of query, key and value. Convolutions are left
# out: ConvInteger is slower than a float convolution nearly everywhere.
_OPERATORS = ("MatMul", "Gemm", "Attention")


@dataclass(frozen=True)
class _Quantiser:
    """Makes graphs with any products in integers from one file."""

    plain: Path
    per_channel: bool
    types: IntegerTypes

    def __call__(self, integer: Collection[str]) -> onnx.ModelProto:
        """The graph with these nodes in integers."""
        quantised = self.plain.with_name("quantised.onnx")
        quantize_dynamic(
            self.plain,
            quantised,
            op_types_to_quantize=list(_OPERATORS),
            per_channel=self.per_channel,
            reduce_range=self.types.reduce_range,
            weight_type=self.types.weights,
            nodes_to_quantize=sorted(integer),
            # Only products with a constant matrix: two activations gain nothing from it.
            extra_options={"MatMulConstBOnly": True},
        )
        result = read(quantised)
        quantised.unlink()
        return result


def run(config: QuantizeDynamic, model: OnnxModel, context: Context) -> OnnxModel:
    """Quantises the weights of matrix products. Raises NotApplicable when there are none, or no such types."""
    types = choose(config.types, context.hardware, context.session.target)
    if types.name == "s8s8":
        raise NotApplicable(
            "dynamic quantisation always has unsigned activations, so types s8s8 (which a GPU needs) are not possible; "
            "use quantize_static there, or types u8s8"
        )
    proto = read(model.path)
    # The tool does so too, under names of its own, and could not be told then which of them to leave in float.
    ONNXModel(proto).replace_gemm_with_matmul()
    name_nodes(proto)
    infer(proto, context.session)
    # It was: folded on export, and its types and shapes are known. The tool would warn of it.
    add_pre_process_metadata(proto)
    tables = lookups(proto) if config.embeddings else []
    nodes = [*quantisable(proto, _OPERATORS), *tables]
    if not nodes:
        raise NotApplicable("there is nothing to quantise dynamically: the graph has no product with a constant matrix")
    require_known(config.float_nodes, nodes)
    plain = context.directory / "plain.onnx"
    plain.write_bytes(proto.SerializeToString())
    try:
        build = WithTables(
            proto, _Quantiser(plain, config.per_channel, types), frozenset(table.name for table in tables)
        )
        settled = Partial(config, model, context, nodes, build).settle()
    finally:
        plain.unlink()
    done = Counter(node.op_type for node in settled.proto.graph.node)
    context.notes.append(
        f"{integer_weights(settled.proto)} matrices in {types.name}, "
        f"{done['MatMulInteger'] + done['QAttention']} integer products"
    )
    context.notes.extend(told(settled, nodes, config))
    return save(settled.proto, context.directory, model.signature, context.session)
