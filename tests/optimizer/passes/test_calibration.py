import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod
from onnxruntime.quantization.calibrate import create_calibrator

from optimizer.artifact.graph_signature import signature_of
from optimizer.artifact.rows import Rows, feeds
from optimizer.errors import PassFailed
from optimizer.intake.stages import OnnxModel
from optimizer.passes import calibration, quantize_static
from optimizer.passes.calibration import calibrate, plan, watched
from optimizer.passes.context import Splits
from optimizer.recipe.quantize import QuantizeStatic

_SIZES = st.dictionaries(st.text("abcdef", min_size=1, max_size=3), st.integers(0, 1000), min_size=1, max_size=12)


class _AllRows(CalibrationDataReader):
    def __init__(self, model, rows, count):
        self._batches = iter([feeds(rows, model.signature.inputs, np.arange(count))])

    def get_next(self):
        return next(self._batches, None)


def _onnxruntime(path, operators, method, model, rows, count, tmp_path, **options):
    """Ranges that onnxruntime's calibrator finds with all rows in one batch."""
    calibrator = create_calibrator(path, operators, str(tmp_path / "augmented.onnx"), method, extra_options=options)
    calibrator.collect_data(_AllRows(model, rows, count))
    return {
        name: (float(np.min(found.lowest)), float(np.max(found.highest)))
        for name, found in calibrator.compute_data().items()
    }


@pytest.mark.parametrize("batch", [32, 7, 1])
@pytest.mark.parametrize("kind", ["minmax", "percentile", "entropy"])
def test_ranges_are_onnxruntimes_at_every_chunk_size(resnet, resnet_onnx, context, tmp_path, monkeypatch, kind, batch):
    """20 rows end with a partial batch for all of these sizes but one."""
    monkeypatch.setattr(calibration, "_MOST_ROWS", batch)
    given = context(resnet)
    operators = ["Conv", "Gemm"]
    proto = quantize_static._prepared(resnet_onnx, given.directory, given.session)
    config = QuantizeStatic(calibration=kind, rows=20)
    found = calibrate(proto, operators, config, resnet_onnx, given)
    assert found.rows == 20
    ours = {name: (float(one.lowest), float(one.highest)) for name, one in found.ranges.items()}
    onnx.save(proto, tmp_path / "prepared.onnx")
    rows = given.splits.calibration
    if kind == "entropy":
        # Its search over 2048 bins takes a minute for a network; the histogram's own tests compare it.
        widest = _onnxruntime(
            tmp_path / "prepared.onnx", operators, CalibrationMethod.MinMax, resnet_onnx, rows, 20, tmp_path
        )
        assert all(
            widest[name][0] - 1e-4 <= low <= high <= widest[name][1] + 1e-4 for name, (low, high) in ours.items()
        )
        return
    method = CalibrationMethod.MinMax if kind == "minmax" else CalibrationMethod.Percentile
    options = {} if kind == "minmax" else {"num_bins": 2048, "percentile": 99.999, "symmetric": False}
    theirs = _onnxruntime(tmp_path / "prepared.onnx", operators, method, resnet_onnx, rows, 20, tmp_path, **options)
    assert ours.keys() == theirs.keys()
    for name, bounds in theirs.items():
        width = 2 * max(map(abs, bounds)) / 2048
        assert ours[name] == pytest.approx(bounds, abs=2 * width + 1e-5)


@given(_SIZES, st.integers(1, 3000), st.integers(1, 64))
def test_chunks_stay_under_the_cap(sizes, cap, most):
    chunks = plan(sizes, cap, most)
    assert 1 <= chunks.rows <= most
    assert sorted(name for group in chunks.groups for name in group) == sorted(sizes)
    for group in chunks.groups:
        held = chunks.rows * sum(sizes[name] for name in group)
        assert held <= cap or (chunks.rows == 1 and sum(sizes[name] > 0 for name in group) == 1)


def test_no_tensors_make_one_empty_chunk():
    assert plan({}, 10, 8).groups == ((),)


@pytest.mark.parametrize("kind", ["minmax", "percentile"])
def test_activations_stay_under_a_small_cap(resnet, resnet_onnx, context, monkeypatch, kind):
    """The cap is a third of what one row needs: tensors are taken in groups, and nothing changes in the ranges."""
    given = context(resnet)
    proto = quantize_static._prepared(resnet_onnx, given.directory, given.session)
    config = QuantizeStatic(calibration=kind, rows=6, memory_mib=1)
    plenty = calibrate(proto, ["Conv", "Gemm"], config, resnet_onnx, given)
    monkeypatch.setattr(calibration, "_MIB", plenty.peak_bytes // (3 * 6))
    tight = calibrate(proto, ["Conv", "Gemm"], config, resnet_onnx, given)
    assert 0 < tight.peak_bytes <= plenty.peak_bytes // (3 * 6)
    for name, range_ in plenty.ranges.items():
        assert float(tight.ranges[name].highest) == pytest.approx(float(range_.highest), rel=1e-5)


def _model(tmp_path, first_axis):
    """x -> MatMul -> y, with or without a batch axis."""
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="product")],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [first_axis, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [first_axis, 4])],
        [numpy_helper.from_array(np.eye(4, dtype=np.float32), "w")],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(proto, tmp_path / "model.onnx")
    return proto, OnnxModel(tmp_path / "model.onnx", signature_of(proto))


@pytest.mark.parametrize("kind", ["minmax", "percentile", "entropy"])
def test_models_without_a_batch_axis_take_row_after_row(resnet, context, tmp_path, kind):
    proto, model = _model(tmp_path, 1)
    rows = Rows({"x": np.arange(40, dtype=np.float32).reshape(10, 4)})
    given = context(resnet, splits=Splits(rows, rows, rows))
    found = calibrate(proto, ["MatMul"], QuantizeStatic(calibration=kind), model, given)
    assert found.rows == 10
    assert float(found.ranges["y"].lowest) == 0
    assert float(found.ranges["y"].highest) == pytest.approx(39, abs=0.1)


def test_values_that_are_not_finite_have_no_range(resnet, context, tmp_path):
    proto, model = _model(tmp_path, "batch")
    rows = Rows({"x": np.array([[1, 2, 3, np.inf]], np.float32)})
    given = context(resnet, splits=Splits(rows, rows, rows))
    with pytest.raises(PassFailed, match="'x' is NaN or infinite"):
        calibrate(proto, ["MatMul"], QuantizeStatic(), model, given)


def test_constants_and_integers_are_not_watched(bert_onnx, bert, context):
    given = context(bert)
    proto = quantize_static._prepared(bert_onnx, given.directory, given.session)
    names = watched(proto, ["MatMul", "Gather"])
    constants = {tensor.name for tensor in proto.graph.initializer}
    assert names
    assert not constants.intersection(names)
    assert "input_ids" not in names
