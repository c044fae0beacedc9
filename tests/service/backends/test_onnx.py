import hashlib

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from optimizer.artifact.session import SessionSpec
from optimizer.artifact.signature import DATATYPES, Signature, TensorSpec, numpy_dtype
from service.backends.onnx import OnnxBackend
from service.errors import FailedPrecondition, InvalidArgument

ONNX_TYPES = {
    "BOOL": TensorProto.BOOL, "UINT8": TensorProto.UINT8, "UINT16": TensorProto.UINT16, "UINT32": TensorProto.UINT32,
    "UINT64": TensorProto.UINT64, "INT8": TensorProto.INT8, "INT16": TensorProto.INT16, "INT32": TensorProto.INT32,
    "INT64": TensorProto.INT64, "FP16": TensorProto.FLOAT16, "FP32": TensorProto.FLOAT, "FP64": TensorProto.DOUBLE,
    "BF16": TensorProto.BFLOAT16, "BYTES": TensorProto.STRING,
}  # fmt: skip


def save(tmp_path, nodes, inputs, outputs, initializers=()):
    def value(name, kind, shape):
        return helper.make_tensor_value_info(name, kind, shape)

    graph = helper.make_graph(
        nodes, "g", [value(*tensor) for tensor in inputs], [value(*tensor) for tensor in outputs], list(initializers)
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path = tmp_path / f"{hashlib.sha256(model.SerializeToString()).hexdigest()[:8]}.onnx"
    onnx.save(model, path)
    return path


def signature(*inputs, output):
    return Signature(
        inputs=tuple(TensorSpec(name=name, datatype=kind, shape=shape) for name, kind, shape in inputs),
        outputs=(TensorSpec(name=output[0], datatype=output[1], shape=output[2]),),
    )


def samples(datatype):
    if datatype == "BYTES":
        array = np.empty((2, 2), object)
        array[:] = [[b"one", "zwölf\x00".encode()], [b"", b"x" * 300]]
        return array
    dtype = numpy_dtype(datatype)
    if datatype == "BOOL":
        return np.array([[True, False], [False, True]])
    if dtype.kind in "iu":
        limits = np.iinfo(dtype)
        return np.array([[limits.min, 0], [1, limits.max]], dtype)
    return np.array([[0.0, -1.5], [float("inf"), float("nan")]]).astype(dtype)


@pytest.mark.parametrize("datatype", DATATYPES)
def test_every_data_type_comes_out_as_it_went_in(tmp_path, datatype) -> None:
    kind = ONNX_TYPES[datatype]
    path = save(
        tmp_path,
        [helper.make_node("Identity", ["x"], ["y"])],
        [("x", kind, ["batch", 2])],
        [("y", kind, ["batch", 2])],
    )
    shape = ("batch", 2)
    backend = OnnxBackend(path, SessionSpec(), signature(("x", datatype, shape), output=("y", datatype, shape)))
    array = samples(datatype)
    (got,) = backend.run([array])
    assert got.dtype == (object if datatype == "BYTES" else numpy_dtype(datatype))
    assert got.tolist() == array.tolist() if array.dtype.kind in "Obiu" else got.tobytes() == array.tobytes()
    assert array.dtype != ml_dtypes.bfloat16 or got.dtype == ml_dtypes.bfloat16
    backend.close()


def test_inputs_and_outputs_follow_the_signature_not_the_graph(tmp_path) -> None:
    path = save(
        tmp_path,
        [helper.make_node("Sub", ["b", "a"], ["y"])],
        [("b", TensorProto.FLOAT, ["batch"]), ("a", TensorProto.FLOAT, ["batch"])],
        [("y", TensorProto.FLOAT, ["batch"])],
    )
    known = signature(("a", "FP32", ("batch",)), ("b", "FP32", ("batch",)), output=("y", "FP32", ("batch",)))
    a, b = np.array([1], np.float32), np.array([10], np.float32)
    assert OnnxBackend(path, SessionSpec(), known).run([a, b])[0].tolist() == [9]


def test_values_the_model_cannot_take_are_the_callers_fault(tmp_path) -> None:
    table = helper.make_tensor("table", TensorProto.FLOAT, [3, 2], np.arange(6, dtype=np.float32))
    path = save(
        tmp_path,
        [helper.make_node("Gather", ["table", "x"], ["y"])],
        [("x", TensorProto.INT64, ["batch"])],
        [("y", TensorProto.FLOAT, ["batch", 2])],
        [table],
    )
    known = signature(("x", "INT64", ("batch",)), output=("y", "FP32", ("batch", 2)))
    backend = OnnxBackend(path, SessionSpec(), known)
    with pytest.raises(InvalidArgument, match="out of range"):
        backend.run([np.array([99])])
    assert backend.run([np.array([1])])[0].tolist() == [[2, 3]]


def test_text_that_is_not_utf8_is_the_callers_fault(tmp_path) -> None:
    path = save(
        tmp_path,
        [helper.make_node("Identity", ["x"], ["y"])],
        [("x", TensorProto.STRING, ["batch"])],
        [("y", TensorProto.STRING, ["batch"])],
    )
    known = signature(("x", "BYTES", ("batch",)), output=("y", "BYTES", ("batch",)))
    with pytest.raises(InvalidArgument, match="UTF-8"):
        OnnxBackend(path, SessionSpec(), known).run([np.array([b"\xff"], object)])


def test_a_file_that_is_no_model_is_refused(tmp_path) -> None:
    known = signature(("x", "FP32", ("batch",)), output=("y", "FP32", ("batch",)))
    path = tmp_path / "model.onnx"
    for content in (b"", b"\x80\x04pickle", b"x" * 10_000):
        path.write_bytes(content)
        with pytest.raises(FailedPrecondition, match="cannot load"):
            OnnxBackend(path, SessionSpec(), known)
    with pytest.raises(FailedPrecondition, match="cannot load"):
        OnnxBackend(tmp_path / "missing.onnx", SessionSpec(), known)


def test_a_model_with_other_inputs_is_refused(tmp_path) -> None:
    path = save(
        tmp_path,
        [helper.make_node("Identity", ["x"], ["y"])],
        [("x", TensorProto.FLOAT, ["batch"])],
        [("y", TensorProto.FLOAT, ["batch"])],
    )
    with pytest.raises(FailedPrecondition, match="inputs"):
        OnnxBackend(path, SessionSpec(), signature(("z", "FP32", ("batch",)), output=("y", "FP32", ("batch",))))
    with pytest.raises(FailedPrecondition, match="outputs"):
        OnnxBackend(path, SessionSpec(), signature(("x", "FP32", ("batch",)), output=("z", "FP32", ("batch",))))
