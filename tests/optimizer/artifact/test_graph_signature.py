"""Signatures of graphs: which first axes are the batch, and what the protocol cannot say."""

from collections.abc import Callable
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from optimizer.artifact.graph_signature import class_output, signature_of
from optimizer.artifact.signature import TensorSpec
from optimizer.errors import InvalidCheckpoint

Graph = Callable[..., onnx.ModelProto]


def value(name: str, axes: Any, element: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, element, axes)


def two_sided(graph: Graph, inputs: dict[str, Any], outputs: dict[str, Any]) -> onnx.ModelProto:
    return graph(
        inputs=[value(name, axes) for name, axes in inputs.items()],
        outputs=[value(name, axes) for name, axes in outputs.items()],
        initializer=[],
    )


def shapes(model: onnx.ModelProto) -> dict[str, tuple[int | str, ...]]:
    signature = signature_of(model)
    return {spec.name: spec.shape for spec in (*signature.inputs, *signature.outputs)}


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        ({"a": ["N", 4], "b": ["N", "T"]}, {"y": ["N", 3]}),
        # Exporters give the same batch different names, or none.
        ({"a": ["s72", 4], "b": ["s43", "T"]}, {"y": ["unk__1", 3]}),
        ({"a": [None, 4], "b": [None, "T"]}, {"y": [None, 3]}),
        ({"a": [-1, 4], "b": [-1, "T"]}, {"y": [-1, 3]}),
    ],
)
def test_open_first_axes_everywhere_are_the_batch(graph: Graph, inputs: Any, outputs: Any) -> None:
    model = two_sided(graph, inputs, outputs)
    assert shapes(model) == {"a": ("batch", 4), "b": ("batch", "T"), "y": ("batch", 3)}
    assert signature_of(model).batched


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        ({"a": [1, 4]}, {"y": [1, 3]}),
        ({"a": ["N", 4], "b": [7]}, {"y": ["N", 3]}),
        ({"a": ["N", 4]}, {"y": [3]}),
        ({"a": ["N", 4], "rate": []}, {"y": ["N", 3]}),
        # A graph's adjacency matrix.
        ({"a": ["nodes", "nodes"]}, {"y": ["nodes", 3]}),
        ({"a": ["nodes", 4], "edges": [2, "m"]}, {"y": ["nodes", 3]}),
    ],
)
def test_other_graphs_have_no_batch(graph: Graph, inputs: Any, outputs: Any) -> None:
    model = two_sided(graph, inputs, outputs)
    assert not signature_of(model).batched
    assert shapes(model) == {name: tuple(axes) for name, axes in (inputs | outputs).items()}


def test_open_axes_without_a_name_get_one_of_their_own(graph: Graph) -> None:
    model = two_sided(graph, {"a": [1, None], "a_1": ["a_1_0", -1]}, {"y": [1, 3]})
    assert shapes(model) == {"a": (1, "a_1"), "a_1": ("a_1_0", "a_1_1"), "y": (1, 3)}


def test_the_word_batch_elsewhere_is_renamed(graph: Graph) -> None:
    model = two_sided(graph, {"a": [1, "batch"]}, {"y": [1, 3]})
    assert shapes(model)["a"] == (1, "a_1")


def test_inputs_that_name_weights_are_not_inputs(graph: Graph) -> None:
    model = graph(inputs=[value("x", ["N", 4]), value("w", [4, 3])])
    assert [spec.name for spec in signature_of(model).inputs] == ["x"]


def test_outputs_without_a_shape_are_inferred(graph: Graph) -> None:
    assert shapes(graph(output_axes=None)) == {"x": ("batch", 4), "y": ("batch", 3)}


def test_limits_are_kept(graph: Graph) -> None:
    assert signature_of(graph(), {"sequence": 64}).limits == {"sequence": 64}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"axes": None, "nodes": [helper.make_node("Identity", ["x"], ["y"])]}, "how many axes its input 'x' has"),
        ({"axes": ("N", 0)}, "axis of size 0"),
        ({"inputs": []}, "has no input"),
        ({"outputs": []}, "has no output"),
        ({"inputs": [value("x", [1])] * 2}, "two inputs alike"),
        ({"inputs": [value("x\n", [1])]}, "without a usable name"),
        ({"inputs": [value("x", [1], TensorProto.STRING)]}, "type STRING; allowed are"),
        ({"inputs": [value("x", [1], TensorProto.FLOAT8E5M2)]}, "type FLOAT8E5M2"),
        (
            {"inputs": [helper.make_tensor_sequence_value_info("x", TensorProto.FLOAT, [1])]},
            "is a sequence, not a tensor",
        ),
    ],
)
def test_what_the_protocol_cannot_say_is_refused(graph: Graph, changes: dict[str, Any], words: str) -> None:
    model = graph(**{"output_axes": None} | changes)
    with pytest.raises(InvalidCheckpoint, match=words):
        signature_of(model)


def test_class_scores_are_the_first_floating_output(graph: Graph) -> None:
    model = graph(outputs=[value("label", ["N"], TensorProto.INT64), value("y", ["N", 3]), value("z", ["N", 3])])
    assert class_output(signature_of(model)) == TensorSpec(name="y", datatype="FP32", shape=("batch", 3))
    with pytest.raises(InvalidCheckpoint, match=r"no floating-point output.*label \(INT64\)"):
        class_output(signature_of(graph(outputs=[value("label", ["N"], TensorProto.INT64)])))
