import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from optimizer.passes.integer_graph import round_biases


def _graph(bias, unit):
    """One product of integers whose bias is still in floats; `unit` is the scale of the weights."""
    constants = {
        "weight": np.array([[3, -5], [7, 2]], np.int8),
        "weight_scale": np.array([unit, 2 * unit], np.float32),
        "weight_zero": np.zeros(2, np.int8),
        "scale": np.array(0.5, np.float32),
        "zero": np.array(0, np.uint8),
        "bias": np.array(bias, np.float32),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["d"]),
        helper.make_node("DequantizeLinear", ["weight", "weight_scale", "weight_zero"], ["w"], axis=0),
        helper.make_node("Gemm", ["d", "w", "bias"], ["y"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 2])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])


def _constants(model):
    return {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}


def test_bias_becomes_whole_multiples_of_what_the_sum_counts_in():
    model = _graph([1.0, -2.1], unit=0.1)
    assert round_biases(model) == 1
    onnx.checker.check_model(model)
    found = _constants(model)
    assert found["y_bias_whole"].dtype == np.int32
    assert found["y_bias_whole"].tolist() == [20, -21]
    assert found["y_bias_unit"] == pytest.approx([0.05, 0.1])
    assert "bias" not in found


def test_bias_that_32_bits_do_not_hold_stays_as_it_is():
    model = _graph([1.0, 1e6], unit=1e-4)
    assert round_biases(model) == 0
    assert _constants(model)["bias"].tolist() == [1.0, 1e6]


def test_product_in_floats_keeps_its_bias():
    model = _graph([1.0, -2.1], unit=0.1)
    model.graph.node[3].input[1] = "floating"
    model.graph.initializer.append(numpy_helper.from_array(np.ones((2, 2), np.float32), "floating"))
    assert round_biases(model) == 0
