"""ONNX checkpoints: what a graph says of itself, and what a stranger's graph may not do."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from optimizer.artifact.inspection import InputFacts, inspect_checkpoint
from optimizer.artifact.onnx_checkpoint import inspect_onnx
from optimizer.artifact.onnx_graph import GraphLimits
from optimizer.errors import InvalidCheckpoint

Files = dict[str, Path]
Graph = Callable[..., onnx.ModelProto]
Save = Callable[..., Files]


def test_a_graph_with_a_batch(graph: Graph, saved: Save) -> None:
    files = saved(graph(), README_md=b"hello")
    found = inspect_checkpoint(files)
    assert (found.format, found.kind, found.classes) == ("onnx", "tensor", 3)
    assert found.inputs == {"x": InputFacts(datatype="FP32", shape=("batch", 4))}
    assert found.outputs == {"y": InputFacts(datatype="FP32", shape=("batch", 3))}
    assert found.operators == {"MatMul": 1}
    assert found.weights_bytes == files["model.onnx"].stat().st_size


@pytest.mark.parametrize(
    ("axes", "classes"),
    [
        (("N", 50), 50), ((1, 50), 50), ((50,), 50), (("N", 50, 1, 1), 50), (("N", 1), 1), (("N",), 1),
        (("N", "C"), None), (("N", 7, 9), None), (None, None),
    ],
)  # fmt: skip
def test_classes_are_the_open_axis_of_the_scores(
    graph: Graph, saved: Save, axes: tuple[Any, ...] | None, classes: int | None
) -> None:
    # A model without a batch has none on its input either.
    inputs = ("N", 4) if axes is None or axes[0] == "N" else (1, 4)
    assert inspect_checkpoint(saved(graph(axes=inputs, output_axes=axes))).classes == classes


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 100,
        b"not onnx at all",
        b"<!doctype html><p>404</p>",
        b"PK\x03\x04",
        b"\x08\x0a\x3a\xff\xff\xff\xff\x0f",
    ],
)
def test_what_is_not_onnx_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "model.onnx").write_bytes(data)
    with pytest.raises(InvalidCheckpoint, match=r"model.onnx (cannot be read as ONNX|is not an ONNX model)"):
        inspect_checkpoint({"model.onnx": tmp_path / "model.onnx"})


def test_a_truncated_graph_is_refused(graph: Graph, saved: Save) -> None:
    files = saved(graph())
    content = files["model.onnx"].read_bytes()
    for length in range(1, len(content) - 1):
        files["model.onnx"].write_bytes(content[:length])
        with pytest.raises(InvalidCheckpoint):
            inspect_checkpoint(files)


def with_external(graph: Graph, **entries: str) -> onnx.ModelProto:
    model = graph()
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in entries.items():
        tensor.external_data.add(key=key, value=value)
    return model


def test_external_data_beside_the_graph_is_accepted(graph: Graph, saved: Save) -> None:
    files = saved(with_external(graph, location="model.data", offset="8", length="48"), model_data=b"\0" * 56)
    assert inspect_checkpoint(files).weights_bytes == sum(path.stat().st_size for path in files.values())


def test_external_data_is_found_from_the_graphs_own_folder(graph: Graph, tmp_path: Path) -> None:
    onnx.save(with_external(graph, location="w.data"), tmp_path / "m.onnx")
    (tmp_path / "w.data").write_bytes(b"\0" * 48)
    assert inspect_checkpoint({"onnx/m.onnx": tmp_path / "m.onnx", "onnx/w.data": tmp_path / "w.data"}).classes == 3


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ({"location": "/etc/passwd"}, "point outside its directory"),
        ({"location": "../model.data"}, "point outside its directory"),
        ({"location": "a/../../model.data"}, "point outside its directory"),
        ({"location": "..\\model.data"}, "point outside its directory"),
        ({"location": "C:\\model.data"}, "point outside its directory"),
        ({"location": "file:model.data"}, "point outside its directory"),
        ({"location": ""}, "point outside its directory"),
        ({}, "point outside its directory"),
        ({"location": "absent.data"}, "'absent.data', which is not among the files"),
        ({"location": "model.onnx"}, "not among the files"),
        ({"location": "model.data", "length": "100"}, "reach beyond the end of model.data"),
        ({"location": "model.data", "offset": "16"}, "reach beyond the end of model.data"),
        ({"location": "model.data", "offset": "-1"}, "'-1', which is no position"),
        ({"location": "model.data", "offset": "9" * 30}, "which is no position"),
        ({"location": "model.data", "offset": "²"}, "which is no position"),
    ],
)
def test_external_data_elsewhere_is_refused(graph: Graph, saved: Save, entries: dict[str, str], words: str) -> None:
    with pytest.raises(InvalidCheckpoint, match=words):
        inspect_checkpoint(saved(with_external(graph, **entries), model_data=b"\0" * 56))


def test_a_linked_data_file_is_refused(graph: Graph, saved: Save, tmp_path: Path) -> None:
    files = saved(with_external(graph, location="w.data"))
    (tmp_path / "w.data").symlink_to("/etc/passwd")
    with pytest.raises(InvalidCheckpoint, match="is a symbolic link"):
        inspect_checkpoint(files | {"w.data": tmp_path / "w.data"})


def test_external_data_of_a_nested_constant_is_seen(graph: Graph, saved: Save) -> None:
    tensor = TensorProto(name="c", data_type=TensorProto.FLOAT, dims=[1], data_location=TensorProto.EXTERNAL)
    tensor.external_data.add(key="location", value="/etc/passwd")
    branch = helper.make_graph(
        [helper.make_node("Constant", [], ["z"], value=tensor)],
        "branch",
        [],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, [1])],
    )
    nodes = [helper.make_node("If", ["c"], ["z"], then_branch=branch, else_branch=branch)]
    with pytest.raises(InvalidCheckpoint, match="point outside"):
        inspect_checkpoint(saved(graph(nodes=nodes)))


def test_files_that_the_graph_does_not_use_are_refused(graph: Graph, saved: Save) -> None:
    with pytest.raises(InvalidCheckpoint, match=r"other.bin is not referred to by model.onnx"):
        inspect_checkpoint(saved(graph(), other_bin=b"1"))


@pytest.mark.parametrize(
    ("node", "words"),
    [
        (helper.make_node("Evil", ["x"], ["y"], domain="com.evil"), "custom operator 'Evil' of domain 'com.evil'"),
        (helper.make_node("EPContext", ["x"], ["y"], domain="com.microsoft"), "loads foreign code or files"),
        (helper.make_node("PythonOp", ["x"], ["y"], domain="com.microsoft"), "loads foreign code or files"),
    ],
)
def test_foreign_operators_are_refused(graph: Graph, saved: Save, node: onnx.NodeProto, words: str) -> None:
    with pytest.raises(InvalidCheckpoint, match=words):
        inspect_checkpoint(saved(graph(nodes=[node])))
    inner = helper.make_graph([node], "g", [], [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])])
    nested = helper.make_node("If", ["x"], ["y"], then_branch=inner, else_branch=inner)
    with pytest.raises(InvalidCheckpoint, match=words):
        inspect_checkpoint(saved(graph(nodes=[nested])))


def function(name: str, *called: str) -> onnx.FunctionProto:
    nodes = [helper.make_node(other, ["a"], ["b"], domain="mine" if other != "Relu" else "") for other in called]
    return helper.make_function("mine", name, ["a"], ["b"], nodes, [helper.make_opsetid("", 20)])


def calling(graph: Graph, *functions: onnx.FunctionProto) -> onnx.ModelProto:
    model = graph(nodes=[helper.make_node("F0", ["x"], ["y"], domain="mine")])
    model.functions.extend(functions)
    return model


def test_functions_of_the_model_itself_are_no_custom_operators(graph: Graph, saved: Save) -> None:
    assert inspect_checkpoint(saved(calling(graph, function("F0", "Relu", "Relu")))).operators == {"Relu": 2}


def test_functions_that_call_themselves_are_refused(graph: Graph, saved: Save) -> None:
    with pytest.raises(InvalidCheckpoint, match="call themselves"):
        inspect_checkpoint(saved(calling(graph, function("F0", "F1"), function("F1", "F0"))))


def test_functions_that_unfold_without_measure_are_refused(graph: Graph, saved: Save) -> None:
    ten_times = [function(f"F{level}", *[f"F{level + 1}"] * 10) for level in range(9)]
    with pytest.raises(InvalidCheckpoint, match="unfolds to more than"):
        inspect_checkpoint(saved(calling(graph, *ten_times, function("F9", "Relu"))))


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (GraphLimits(nodes=2), "more than 2 nodes"),
        (GraphLimits(tensors=0), "more than 0 tensors"),
        (GraphLimits(functions=0), "1 functions; at most 0"),
    ],
)
def test_graphs_are_bounded(graph: Graph, saved: Save, limits: GraphLimits, words: str) -> None:
    files = saved(calling(graph, function("F0", "Relu", "Relu", "Relu")))
    with pytest.raises(InvalidCheckpoint, match=words):
        inspect_onnx("model.onnx", files, limits)


def test_weights_must_fit_their_shape(graph: Graph, saved: Save) -> None:
    model = graph()
    model.graph.initializer[0].dims[0] = 2**40
    with pytest.raises(InvalidCheckpoint, match="needs 13194139533312 bytes and has 48"):
        inspect_checkpoint(saved(model))
    model.graph.initializer[0].dims[:] = [2**40, 2**40]
    with pytest.raises(InvalidCheckpoint, match="the shape of tensor 'w'"):
        inspect_checkpoint(saved(model))


def test_packed_and_string_weights_are_measured_too(graph: Graph, saved: Save) -> None:
    words = helper.make_tensor("s", TensorProto.STRING, [2], [b"a", b"b"])
    packed = TensorProto(name="p", data_type=TensorProto.INT4, dims=[3], raw_data=b"12")
    weights = numpy_helper.from_array(np.ones((4, 3), np.float32), "w")
    assert inspect_checkpoint(saved(graph(initializer=[weights, words, packed]))).classes == 3
    packed.raw_data = b"1"
    with pytest.raises(InvalidCheckpoint, match="needs 2 bytes and has 1"):
        inspect_checkpoint(saved(graph(initializer=[packed])))


@pytest.mark.parametrize("text", [b"MatMul", b"batch_axis", b"w.data", b"name_of_x"])
def test_text_that_is_not_utf_8_is_refused(graph: Graph, saved: Save, text: bytes) -> None:
    model = with_external(graph, location="w.data") if text == b"w.data" else graph(axes=("batch_axis", 4))
    model.graph.input[0].name = "name_of_x"
    files = saved(model)
    files["model.onnx"].write_bytes(files["model.onnx"].read_bytes().replace(text, b"\xff" + text[1:]))
    with pytest.raises(InvalidCheckpoint):
        inspect_checkpoint(files)


@pytest.mark.parametrize("name", ["labels", "group"])
def test_an_input_may_not_bear_a_name_of_the_data_set(graph: Graph, saved: Save, name: str) -> None:
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 4])]
    with pytest.raises(InvalidCheckpoint, match=f"has an input '{name}'"):
        inspect_checkpoint(saved(graph(inputs=inputs)))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_mutated_graph_is_accepted_or_refused_but_never_anything_else(
    graph: Graph, saved: Save, data: st.DataObject
) -> None:
    model = calling(graph, function("F0", "Relu"))
    files = saved(model, model_data=b"\0" * 56)
    content = bytearray(files["model.onnx"].read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(content) - 1))
        content[position : position + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=6))
        content = content or bytearray(b"x")
    files["model.onnx"].write_bytes(content)
    try:
        inspect_checkpoint(files)
    except InvalidCheckpoint as error:
        assert str(files["model.onnx"].parent) not in str(error)  # noqa: PT017 - some mutations are harmless
