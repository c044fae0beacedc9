"""Static quantisation: weights and activations in int8, with ranges calibrated ahead of time (QDQ form).

Convolutional networks are quantised throughout, residual sums and pools included, so that onnxruntime joins everything
between the first and the last layer into integer kernels. In encoders only products with constant matrices are: soft
maxima, normalisations, GELU and residual sums have outliers that 8 bits do not hold. Their products answer in float,
since what follows computes in float.
"""

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnxruntime.quantization.calibrate import TensorsData
from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
from onnxruntime.quantization.quant_utils import load_model_with_shape_infer, update_opset_version
from onnxruntime.quantization.shape_inference import quant_pre_process

from optimizer.artifact.session import SessionSpec, ort_errors
from optimizer.errors import NotApplicable, PassFailed
from optimizer.intake.onnx_file import clean, first_line, name_nodes, read, save
from optimizer.intake.stages import OnnxModel
from optimizer.passes.calibration import calibrate
from optimizer.passes.context import Context
from optimizer.passes.inner_values import infer
from optimizer.passes.integer_types import IntegerTypes, candidates, integer_weights
from optimizer.passes.lookup_tables import WithTables, lookups
from optimizer.passes.partial import Partial, Settled, told
from optimizer.passes.quantisable import quantisable, require_known
from optimizer.passes.speed import times_faster
from optimizer.recipe.quantize import QuantizeStatic

_WEIGHTED = ("Conv", "MatMul", "Gemm")
# Operators that integer convolutional networks consist of: those with ranges of their own, and those that hand on the
# ranges of what they are given.
_RANGED = (
    "Add", "Mul", "LeakyRelu", "Sigmoid", "AveragePool", "GlobalAveragePool", "Concat",
)  # fmt: skip
_PASSING = (
    "Relu", "Clip", "MaxPool", "Pad", "Resize", "Split", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose",
)  # fmt: skip
_ENCODER_SIGNS = frozenset(
    {"LayerNormalization", "SkipLayerNormalization", "Attention", "MultiHeadAttention", "Softmax", "Gelu", "BiasGelu"}
)


@dataclass(frozen=True)
class _Quantiser:
    """Makes QDQ graphs of one prepared graph, with any of its nodes in integers."""

    proto: onnx.ModelProto
    operators: tuple[str, ...]
    # Nodes that are quantised by choice; the others of `operators` follow what is around them.
    chosen: frozenset[str]
    encoder: bool
    types: IntegerTypes
    per_channel: bool
    ranges: TensorsData

    def __call__(self, integer: Collection[str]) -> onnx.ModelProto:
        """The graph with these nodes in integers. Raises PassFailed when the tool does not understand the graph."""
        proto = onnx.ModelProto()
        proto.CopyFrom(self.proto)
        # One node alone is quantised without what would follow it.
        only = list(integer) if len(integer) == 1 else []
        try:
            quantiser = QDQQuantizer(
                proto,
                self.per_channel,
                self.types.reduce_range,
                self.types.weights,
                self.types.activations,
                self.ranges,
                only,
                sorted(self.chosen - set(integer)),
                list(self.operators),
                {
                    "MatMulConstBOnly": self.encoder,
                    "ActivationSymmetric": self.types.name == "s8s8",
                    "WeightSymmetric": self.types.name != "u8u8",
                    "OpTypesToExcludeOutputQuantization": list(_WEIGHTED) if self.encoder else [],
                },
            )
            quantiser.quantize_model()
            quantiser.model.topological_sort()
        except _tool_errors() as error:
            raise PassFailed(f"the graph cannot be quantised: {first_line(error)}") from error
        result: onnx.ModelProto = quantiser.model.model
        return result


def run(config: QuantizeStatic, model: OnnxModel, context: Context) -> OnnxModel:
    """Calibrates and quantises. Raises NotApplicable when nothing can be quantised, PassFailed when the tools fail."""
    types = candidates(config.types, context.hardware, context.session.target)
    proto = _prepared(model, context.directory, context.session)
    if not any(node.op_type in _WEIGHTED for node in proto.graph.node):
        raise NotApplicable("there is nothing to quantise: the graph has no convolution and no matrix product")
    encoder = any(node.op_type in _ENCODER_SIGNS for node in proto.graph.node)
    operators = _WEIGHTED if encoder else (*_WEIGHTED, *_RANGED, *_PASSING)
    tables = lookups(proto) if config.embeddings else []
    nodes = [*quantisable(proto, operators if encoder else (*_WEIGHTED, *_RANGED)), *tables]
    if not any(node.size for node in nodes):
        raise NotApplicable("there is nothing to quantise: no convolution or matrix product has constant weights")
    require_known(config.float_nodes, nodes)
    calibrated = calibrate(proto, operators, config, model, context)
    tabled = frozenset(table.name for table in tables)
    chosen = frozenset(node.name for node in nodes) - tabled
    searches = []
    for one in types:
        updated = update_opset_version(proto, one.weights, one.activations)
        build = _Quantiser(updated, operators, chosen, encoder, one, config.per_channel, calibrated.ranges)
        searches.append((one, Partial(config, model, context, nodes, WithTables(updated, build, tabled))))
    used, search = searches[0] if len(searches) == 1 else _better(searches, config, context)
    settled = search.settle()
    context.notes.append(
        f"{integer_weights(settled.proto)} weights in {used.name}, calibrated ({config.calibration}) on "
        f"{calibrated.rows} rows"
    )
    context.notes.append(
        f"calibration held at most {calibrated.peak_bytes / 2**20:.1f} MiB of activations, "
        f"the cap is {config.memory_mib} MiB"
    )
    context.notes.extend(told(settled, nodes, config))
    context.notes.extend(_left(settled, proto))
    return save(settled.proto, context.directory, model.signature, context.session)


def _better(
    searches: list[tuple[IntegerTypes, Partial]], config: QuantizeStatic, context: Context
) -> tuple[IntegerTypes, Partial]:
    """Types whose whole graph holds the budget, the fastest of those; where none does, the most accurate."""
    (first, one), (second, other) = searches
    everything = [[name.name for name in search.nodes if name.name not in config.float_nodes] for _, search in searches]
    protos = [search.build(names) for (_, search), names in zip(searches, everything, strict=True)]
    scores = [search.score(proto) for (_, search), proto in zip(searches, protos, strict=True)]
    ratio = times_faster(protos[1].SerializeToString(), protos[0].SerializeToString(), one.model.signature, context)
    hold = [score >= one.allowed for score in scores]
    second_wins = (ratio.low > 1) if all(hold) else scores[1] > scores[0]
    context.notes.append(
        f"{second.name} is {ratio.value:.2f} times as fast as {first.name} here; "
        f"the scores are {scores[1]:.4f} and {scores[0]:.4f}"
    )
    return (second, other) if second_wins else (first, one)


def _left(settled: Settled, proto: onnx.ModelProto) -> list[str]:
    """What nobody could put into integers and a reader may wonder at."""
    attention = sum(node.op_type in ("Attention", "MultiHeadAttention") for node in settled.proto.graph.node)
    return [f"{attention} fused attention blocks stay in float: there is no static form of them"] if attention else []


def _prepared(model: OnnxModel, directory: Path, session: SessionSpec) -> onnx.ModelProto:
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
        folded = read(prepared)
        name_nodes(folded)
        infer(folded, session)
        prepared.write_bytes(folded.SerializeToString())
        result: onnx.ModelProto = load_model_with_shape_infer(prepared)
    except _tool_errors() as error:
        raise PassFailed(f"the graph cannot be prepared for quantisation: {first_line(error)}") from error
    finally:
        plain.unlink()
        prepared.unlink(missing_ok=True)
    return result


def _tool_errors() -> tuple[type[Exception], ...]:
    """What the quantiser raises for graphs that it does not understand."""
    return (*ort_errors(), onnx.shape_inference.InferenceError, ValueError, KeyError, IndexError, RuntimeError)
