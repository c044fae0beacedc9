"""Dynamic quantisation: weights become int8 ahead of time, activations as they come."""

from collections import Counter

from onnxruntime.quantization import quantize_dynamic

from optimizer.errors import NotApplicable
from optimizer.intake.onnx_file import name_nodes, read, save
from optimizer.intake.stages import OnnxModel
from optimizer.passes.context import Context
from optimizer.passes.inner_values import infer
from optimizer.passes.integer_types import choose, integer_weights
from optimizer.recipe.quantize import QuantizeDynamic

# Attention is onnxruntime's fused operator, which holds the weights of query, key and value. Convolutions are left
# out: ConvInteger is slower than a float convolution nearly everywhere.
_OPERATORS = ("MatMul", "Gemm", "Attention")


def run(config: QuantizeDynamic, model: OnnxModel, context: Context) -> OnnxModel:
    """Quantises the weights of matrix products. Raises NotApplicable when there are none, or no such types."""
    types = choose(config.types, context.hardware, context.session.target)
    if types.name == "s8s8":
        raise NotApplicable(
            "dynamic quantisation always has unsigned activations, so types s8s8 (which a GPU needs) are not possible; "
            "use quantize_static there, or types u8s8"
        )
    proto = read(model.path)
    name_nodes(proto)
    infer(proto, context.session)
    plain, quantised = context.directory / "plain.onnx", context.directory / "quantised.onnx"
    plain.write_bytes(proto.SerializeToString())
    quantize_dynamic(
        plain,
        quantised,
        op_types_to_quantize=list(_OPERATORS),
        per_channel=config.per_channel,
        reduce_range=types.reduce_range,
        weight_type=types.weights,
        # Only products with a constant matrix: two activations gain nothing from it.
        extra_options={"MatMulConstBOnly": True},
    )
    result = read(quantised)
    plain.unlink()
    quantised.unlink()
    count = integer_weights(result)
    if count == 0:
        raise NotApplicable("there is nothing to quantise dynamically: the graph has no product with a constant matrix")
    done = Counter(node.op_type for node in result.graph.node)
    context.notes.append(
        f"{count} matrices in {types.name}, {done['MatMulInteger'] + done['QAttention']} integer products"
    )
    return save(result, context.directory, model.signature, context.session)
