"""Static quantisation: weights and activations in int8, with ranges calibrated ahead of time (QDQ form).

Convolutional networks are quantised throughout, residual sums and pools included, so that onnxruntime joins everything
between the first and the last layer into integer kernels. In encoders only products with constant matrices are: soft
maxima, normalisations, GELU and residual sums have outliers that 8 bits do not hold.
"""

from pathlib import Path

import onnx
from onnxruntime.quantization import QuantFormat, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

from optimizer.artifact.session import SessionSpec, ort_errors
from optimizer.errors import NotApplicable, PassFailed
from optimizer.intake.onnx_file import clean, first_line, name_nodes, read, save
from optimizer.intake.stages import OnnxModel
from optimizer.passes.calibration import METHODS, calibrate
from optimizer.passes.context import Context
from optimizer.passes.inner_values import infer
from optimizer.passes.integer_types import choose, integer_weights
from optimizer.recipe.quantize import QuantizeStatic

_WEIGHTED = ("Conv", "MatMul", "Gemm")
# Operators that integer convolutional networks consist of.
_CONVOLUTIONAL = (
    *_WEIGHTED, "Add", "Mul", "Relu", "Clip", "LeakyRelu", "Sigmoid", "MaxPool", "AveragePool", "GlobalAveragePool",
    "Concat", "Pad", "Resize", "Split", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose",
)  # fmt: skip
_ENCODER_SIGNS = frozenset(
    {"LayerNormalization", "SkipLayerNormalization", "Attention", "MultiHeadAttention", "Softmax", "Gelu", "BiasGelu"}
)


def run(config: QuantizeStatic, model: OnnxModel, context: Context) -> OnnxModel:
    """Calibrates and quantises. Raises NotApplicable when nothing can be quantised, PassFailed when the tools fail."""
    types = choose(config.types, context.hardware, context.session.target)
    prepared = _prepared(model, context.directory, context.session)
    graph = read(prepared).graph
    encoder = any(node.op_type in _ENCODER_SIGNS for node in graph.node)
    operators = list(_WEIGHTED if encoder else _CONVOLUTIONAL)
    if not any(node.op_type in _WEIGHTED for node in graph.node):
        raise NotApplicable("there is nothing to quantise: the graph has no convolution and no matrix product")
    ranges = context.directory / "ranges.json"
    quantised = context.directory / "quantised.onnx"
    try:
        rows = calibrate(prepared, operators, config, model, context, ranges)
        context.report(0.8, message="quantising")
        quantize_static(
            prepared,
            quantised,
            None,
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=operators,
            per_channel=config.per_channel,
            reduce_range=types.reduce_range,
            activation_type=types.activations,
            weight_type=types.weights,
            calibrate_method=METHODS[config.calibration],
            calibration_cache_path=ranges,
            extra_options={
                "MatMulConstBOnly": encoder,
                "ActivationSymmetric": types.name == "s8s8",
                "WeightSymmetric": types.name != "u8u8",
            },
        )
        result = read(quantised)
    except _tool_errors() as error:
        raise PassFailed(f"the graph cannot be quantised: {first_line(error)}") from error
    finally:
        for leftover in (prepared, ranges, quantised):
            leftover.unlink(missing_ok=True)
    count = integer_weights(result)
    if count == 0:
        raise NotApplicable("there is nothing to quantise: no convolution or matrix product has constant weights")
    context.notes.append(f"{count} weights in {types.name}, calibrated ({config.calibration}) on {rows} rows")
    return save(result, context.directory, model.signature, context.session)


def _prepared(model: OnnxModel, directory: Path, session: SessionSpec) -> Path:
    """The graph optimised and with every tensor's shape, which the quantiser needs."""
    proto = read(model.path)
    clean(proto)
    name_nodes(proto)
    plain, prepared = directory / "plain.onnx", directory / "prepared.onnx"
    # A file, since the tool loses weights of a model that it is given in memory.
    plain.write_bytes(proto.SerializeToString())
    try:
        # Folds what is constant; its own inference of shapes is left out, since it fails on encoders.
        quant_pre_process(plain, prepared, skip_symbolic_shape=True, skip_onnx_shape=True)
    except _tool_errors() as error:
        raise PassFailed(f"the graph cannot be prepared for quantisation: {first_line(error)}") from error
    finally:
        plain.unlink()
    folded = read(prepared)
    infer(folded, session)
    prepared.write_bytes(folded.SerializeToString())
    return prepared


def _tool_errors() -> tuple[type[Exception], ...]:
    """What the quantiser raises for graphs that it does not understand."""
    return (*ort_errors(), onnx.shape_inference.InferenceError, ValueError, KeyError, IndexError, RuntimeError)
