import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from optimizer.artifact.graph_signature import signature_of
from optimizer.artifact.rows import Rows
from optimizer.errors import PassFailed
from optimizer.passes.context import Splits
from optimizer.passes.speed import times_faster


def _multiply(width):
    weights = np.ones((width, width), np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "multiply",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", width])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", width])],
        [numpy_helper.from_array(weights, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def test_ratios_are_those_of_the_clock(resnet, context):
    """A clock by which every other call takes longer: which graph is faster follows from it alone."""
    rows = Rows({"x": np.ones((4, 8), np.float32)})
    given = context(resnet, splits=Splits(rows, rows, rows))
    model = _multiply(8)
    graph = model.SerializeToString()
    now = [0]

    def clock():
        now[0] += 1000
        return now[0]

    found = times_faster(graph, graph, signature_of(model), given, clock=clock)
    assert (found.low, found.value, found.high) == (1, 1, 1)


def test_a_graph_that_does_not_run_is_a_failed_pass(resnet, context):
    rows = Rows({"x": np.ones((4, 8), np.float32)})
    given = context(resnet, splits=Splits(rows, rows, rows))
    model = _multiply(8)
    broken = onnx.ModelProto()
    broken.CopyFrom(model)
    broken.graph.node[0].op_type = "NoSuchOperator"
    with pytest.raises(PassFailed, match="does not run"):
        times_faster(model.SerializeToString(), broken.SerializeToString(), signature_of(model), given)
