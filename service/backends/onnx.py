"""onnxruntime as a backend: on the CPU, and on CUDA with inputs and outputs bound to the device."""

import ctypes
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnxruntime as ort

from optimizer.artifact import session
from optimizer.artifact.session import SessionSpec
from optimizer.artifact.signature import Signature
from service.errors import FailedPrecondition, InvalidArgument, ServiceError
from service.types import Array

_LOG = logging.getLogger(__name__)
_BFLOAT16 = 16  # onnx.TensorProto.BFLOAT16
# RuntimeError comes from onnxruntime's conversions of numpy arrays.
_ORT_ERRORS: tuple[type[Exception], ...] = (RuntimeError, *session.ort_errors())
_REFUSED = ort.capi.onnxruntime_pybind11_state.InvalidArgument


class OnnxBackend:
    """An onnxruntime session whose inputs and outputs are those of the signature. Any thread may run it."""

    def __init__(self, model: Path, spec: SessionSpec, signature: Signature) -> None:
        """Loads the model. Raises FailedPrecondition when it cannot be loaded or has other inputs or outputs."""
        self._inputs = [tensor.name for tensor in signature.inputs]
        self._outputs = [tensor.name for tensor in signature.outputs]
        try:
            self._session: Any = session.build(model, spec)
        except _ORT_ERRORS as error:
            _LOG.warning("onnxruntime cannot load %s: %s", model, error)
            raise FailedPrecondition("onnxruntime cannot load this model") from error
        for side, want, have in (
            ("inputs", self._inputs, [tensor.name for tensor in self._session.get_inputs()]),
            ("outputs", self._outputs, [tensor.name for tensor in self._session.get_outputs()]),
        ):
            if sorted(want) != sorted(have):
                raise FailedPrecondition(f"the model's {side} are {have}, its signature says {want}")
        if spec.target == "cuda" and "CUDAExecutionProvider" not in self._session.get_providers():
            raise FailedPrecondition("the CUDA provider of onnxruntime cannot be used on this host")
        datatypes = {tensor.datatype for tensor in (*signature.inputs, *signature.outputs)}
        self._strings = [index for index, tensor in enumerate(signature.inputs) if tensor.datatype == "BYTES"]
        self._string_outputs = [index for index, tensor in enumerate(signature.outputs) if tensor.datatype == "BYTES"]
        if "BF16" in datatypes:
            self._execute = self._run_values
        elif spec.target == "cuda" and "BYTES" not in datatypes:
            self._device_id = spec.device_id
            self._execute = self._run_bound
        else:
            self._execute = self._run_plain

    def run(self, inputs: Sequence[Array]) -> list[Array]:
        """See Backend."""
        if self._strings:
            inputs = [_decode(array) if index in self._strings else array for index, array in enumerate(inputs)]
        try:
            outputs = self._execute(inputs)
        except _REFUSED as error:
            _LOG.info("onnxruntime refused a request: %s", error)
            raise InvalidArgument(
                "the model cannot take these values: an index out of range, or sizes that do not fit each other"
            ) from error
        except _ORT_ERRORS as error:
            _LOG.warning("onnxruntime failed: %s", error)
            raise ServiceError("the model failed on this request") from error
        for index in self._string_outputs:
            outputs[index] = _encode(outputs[index])
        return outputs

    def close(self) -> None:
        """See Backend."""
        self._session = None

    def _run_plain(self, inputs: Sequence[Array]) -> list[Array]:
        feed = dict(zip(self._inputs, inputs, strict=True))
        outputs: list[Array] = self._session.run(self._outputs, feed)
        return outputs

    def _run_bound(self, inputs: Sequence[Array]) -> list[Array]:
        binding = self._session.io_binding()
        for name, array in zip(self._inputs, inputs, strict=True):
            binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(array, "cuda", self._device_id))
        for name in self._outputs:
            binding.bind_output(name, "cuda", self._device_id)
        self._session.run_with_iobinding(binding)
        outputs: list[Array] = binding.copy_outputs_to_cpu()
        return outputs

    def _run_values(self, inputs: Sequence[Array]) -> list[Array]:
        # onnxruntime's numpy conversions do not know bfloat16: its bits go in and out as uint16.
        feed = {name: _to_value(array) for name, array in zip(self._inputs, inputs, strict=True)}
        return [_from_value(value) for value in self._session.run_with_ort_values(self._outputs, feed)]


def _to_value(array: Array) -> Any:
    if array.dtype == ml_dtypes.bfloat16:
        return ort.OrtValue.ortvalue_from_numpy_with_onnx_type(array.view(np.uint16), _BFLOAT16)
    return ort.OrtValue.ortvalue_from_numpy(array)


def _from_value(value: Any) -> Array:
    if value.element_type() != _BFLOAT16:
        array: Array = value.numpy()
        return array
    shape = tuple(value.shape())
    bits = np.empty(shape, np.uint16)
    ctypes.memmove(bits.ctypes.data, value.data_ptr(), bits.nbytes)
    return bits.view(ml_dtypes.bfloat16)


def _decode(array: Array) -> Array:
    """ONNX strings are UTF-8."""
    try:
        texts = [element.decode() for element in array.ravel()]
    except UnicodeDecodeError as error:
        raise InvalidArgument("BYTES elements of this model must be UTF-8 text") from error
    decoded = np.empty(len(texts), object)
    decoded[:] = texts
    return decoded.reshape(array.shape)


def _encode(array: Array) -> Array:
    encoded = np.empty(array.size, object)
    encoded[:] = [str(element).encode() for element in array.ravel()]
    return encoded.reshape(array.shape)
