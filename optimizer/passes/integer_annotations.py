"""Where fake quantisation goes in an exported program: at the tensors between which onnxruntime has integer kernels.

onnxruntime turns an operator into its integer form when all its inputs come out of DequantizeLinear and its output goes
into QuantizeLinear; a matrix product may also answer in floats. torchao's own quantiser for x86 leaves the sums of
residual branches and the pools in floats, so that onnxruntime can join nothing around them; this one does not.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch.fx import GraphModule, Node
from torchao.quantization.pt2e import FakeQuantize
from torchao.quantization.pt2e.observer import MovingAverageMinMaxObserver, MovingAveragePerChannelMinMaxObserver
from torchao.quantization.pt2e.quantizer import (
    QuantizationAnnotation,
    QuantizationSpec,
    Quantizer,
    SharedQuantizationSpec,
)

from optimizer.passes.integer_types import IntegerTypes

aten = torch.ops.aten
_SMALLEST_SCALE = 2**-20
_MARK = "quantization_annotation"
_CONVOLUTIONS = (aten.conv1d.default, aten.conv2d.default, aten.conv3d.default)
_PRODUCTS = (aten.linear.default,)
WEIGHTED = (*_CONVOLUTIONS, *_PRODUCTS)
_SUMS = (aten.add.Tensor, aten.mul.Tensor, aten.cat.default)
# A mean over whole pictures has no integer kernel when it is exported as a reduction: it stays in floats.
_POOLS = (aten.avg_pool2d.default,)
# Their answers are some of their inputs' values, unchanged.
_MOVES = (
    aten.max_pool2d.default, aten.flatten.using_ints, aten.reshape.default, aten.view.default, aten.squeeze.dim,
    aten.squeeze.dims, aten.unsqueeze.default, aten.transpose.int, aten.permute.default,
)  # fmt: skip
# What onnxruntime joins into the integer operator before it.
_JOINED = (aten.relu.default, aten.relu6.default, aten.hardtanh.default)
# An encoder's sums and normalisations have outliers that 8 bits do not hold: only its products become integers.
_ENCODER_SIGNS = (aten.layer_norm.default, aten.softmax.int, aten.scaled_dot_product_attention.default)


@dataclass(frozen=True)
class Specs:
    """How activations and weights are rounded."""

    activations: QuantizationSpec
    weights: QuantizationSpec


def specs_of(types: IntegerTypes) -> Specs:
    """Per-tensor activations with moving ranges, weights symmetric per output channel.

    torchao's fused observers are faster, but round with other scales than those that the conversion then writes.
    """
    symmetric = types.name == "s8s8"
    activations = QuantizationSpec(
        dtype=torch.int8 if symmetric else torch.uint8,
        quant_min=-128 if symmetric else 0,
        quant_max=127 if symmetric else 255,
        qscheme=torch.per_tensor_symmetric if symmetric else torch.per_tensor_affine,
        observer_or_fake_quant_ctr=FakeQuantize.with_args(observer=MovingAverageMinMaxObserver, eps=_SMALLEST_SCALE),
    )
    bound = 64 if types.reduce_range else 128
    weights = QuantizationSpec(
        dtype=torch.int8,
        quant_min=-bound + 1,
        quant_max=bound - 1,
        qscheme=torch.per_channel_symmetric,
        ch_axis=0,
        observer_or_fake_quant_ctr=FakeQuantize.with_args(
            observer=MovingAveragePerChannelMinMaxObserver, averaging_constant=1.0, eps=_SMALLEST_SCALE
        ),
    )
    return Specs(activations, weights)


class OnnxRuntimeQuantizer(Quantizer):  # type: ignore[misc]
    """Marks what is to be rounded; torchao puts its fake quantisation there."""

    def __init__(self, specs: Specs) -> None:
        super().__init__()
        self._specs = specs
        self.weighted = 0

    def annotate(self, model: GraphModule) -> GraphModule:
        """Marks the nodes of `model`; `weighted` counts the convolutions and products among them."""
        nodes = list(model.graph.nodes)
        encoder = any(node.target in _ENCODER_SIGNS for node in nodes)
        for node in nodes:
            if node.target in WEIGHTED and _constant(node.args[1]):
                self._weighted(node, answers=node.target in _CONVOLUTIONS)
            elif encoder:
                continue
            elif node.target in _POOLS or (node.target in _SUMS and _computed(node)):
                self._plain(node)
        if not encoder:
            for node in nodes:
                if node.target in _MOVES:
                    self._moved(node)
        return model

    def validate(self, model: GraphModule) -> None:
        """Any marking is allowed."""

    def _weighted(self, node: Node, answers: bool) -> None:
        self.weighted += 1
        _mark(node, {node.args[0]: self._specs.activations, node.args[1]: self._specs.weights})
        if answers:
            _answer(node, self._specs.activations)

    def _plain(self, node: Node) -> None:
        _mark(node, dict.fromkeys(_sources(node), self._specs.activations))
        _answer(node, self._specs.activations)

    def _moved(self, node: Node) -> None:
        """Same range before and after, where what comes before is rounded."""
        source: Any = node.args[0]
        before = source.meta.get(_MARK)
        if before is None or before.output_qspec is None or not _floating(node):
            return
        _mark(node, {source: self._specs.activations})
        node.meta[_MARK].output_qspec = SharedQuantizationSpec((source, node))


def _mark(node: Node, inputs: dict[Any, Any]) -> None:
    node.meta[_MARK] = QuantizationAnnotation(input_qspec_map=inputs, _annotated=True)


def _answer(node: Node, spec: QuantizationSpec) -> None:
    """Rounds what `node` answers, after the activation that onnxruntime joins to it."""
    users = list(node.users)
    last = users[0] if len(users) == 1 and users[0].target in _JOINED else node
    if last is not node:
        _mark(last, {})
    last.meta[_MARK].output_qspec = spec


def _sources(node: Node) -> list[Node]:
    """The tensors that a sum, a product or a pool takes."""
    given = node.args[0] if isinstance(node.args[0], (list, tuple)) else node.args[:2]
    return [source for source in given if isinstance(source, Node)]


def _computed(node: Node) -> bool:
    """Whether all operands are floating-point tensors that are computed, none a constant or a number."""
    sources = _sources(node)
    several = isinstance(node.args[0], (list, tuple)) or len(sources) == 2
    return several and all(_floating(source) and not _constant(source) for source in sources)


def _floating(node: Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, torch.Tensor) and value.is_floating_point()


def _constant(node: Any) -> bool:
    return isinstance(node, Node) and node.op == "get_attr"
