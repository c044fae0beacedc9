"""Joined operators taken apart again: on CPUs some of onnxruntime's joined kernels are slower than their parts.

SkipLayerNormalization takes six times as long as a sum and a LayerNormalization there, and BiasGelu is slower than a
sum and a Gelu in front of which an integer product has taken the bias in already.
"""

import onnx
from onnx import helper

_EPSILON = 1e-5
# The first with LayerNormalization.
_OPSET = 17
_MICROSOFT = "com.microsoft"


def take_apart(model: onnx.ModelProto) -> int:
    """Replaces joined sums by their parts, in place; returns how many operators were.

    The sum before a normalisation becomes `Sum`, not `Add`: onnxruntime joins an `Add` and a LayerNormalization anew
    when it loads the graph.
    """
    if not any(entry.domain in ("", "ai.onnx") and entry.version >= _OPSET for entry in model.opset_import):
        return 0
    read = {name for node in model.graph.node for name in node.input} | {value.name for value in model.graph.output}
    nodes: list[onnx.NodeProto] = []
    count = 0
    for node in model.graph.node:
        # Its second and third output, mean and deviation, are for training.
        if node.op_type == "SkipLayerNormalization" and node.domain == _MICROSOFT and not read & set(node.output[1:3]):
            parts = _normalisation(node)
        elif node.op_type == "BiasGelu" and node.domain == _MICROSOFT:
            parts = _gelu(node)
        else:
            nodes.append(node)
            continue
        nodes += parts
        count += 1
    # Copied, since emptying the list takes its nodes with it.
    kept = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(kept)
    return count


def _normalisation(node: onnx.NodeProto) -> list[onnx.NodeProto]:
    values, skip, scale, shift, bias = (*node.input, *[""] * 5)[:5]
    # The fourth output, where it is asked for, is the sum.
    total = node.output[3] if len(node.output) > 3 and node.output[3] else f"{node.output[0]}_sum"
    epsilon = next((attribute.f for attribute in node.attribute if attribute.name == "epsilon"), _EPSILON)
    terms = [name for name in (values, skip, bias) if name]
    return [
        helper.make_node("Sum", terms, [total], f"{node.name}_sum"),
        helper.make_node(
            "LayerNormalization",
            [name for name in (total, scale, shift) if name],
            [node.output[0]],
            node.name,
            axis=-1,
            epsilon=epsilon,
        ),
    ]


def _gelu(node: onnx.NodeProto) -> list[onnx.NodeProto]:
    total = f"{node.output[0]}_sum"
    return [
        helper.make_node("Add", list(node.input), [total], f"{node.name}_sum"),
        helper.make_node("Gelu", [total], [node.output[0]], node.name, domain=_MICROSOFT),
    ]
