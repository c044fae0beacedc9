"""Requests as a client would write them."""

import struct
from collections.abc import Callable

import numpy as np
import pytest

from service.wire.open_inference import grpc_service_pb2 as wire


def raw(array: np.ndarray) -> bytes:
    """Raw contents, written here on their own so that the codec is not its own judge."""
    if array.dtype == object:
        return b"".join(struct.pack("<I", len(element)) + element for element in array.ravel())
    return array.tobytes(order="C")


@pytest.fixture
def to_request() -> Callable[..., wire.ModelInferRequest]:
    def make(
        inputs: dict[str, tuple[str, np.ndarray]],
        outputs: tuple[str, ...] = (),
        model: str = "m",
        version: str = "",
        request_id: str = "",
        **parameters: object,
    ) -> wire.ModelInferRequest:
        message = wire.ModelInferRequest(model_name=model, model_version=version, id=request_id)
        for name, (datatype, array) in inputs.items():
            message.inputs.add(name=name, datatype=datatype, shape=array.shape)
            message.raw_input_contents.append(raw(array))
        for name in outputs:
            message.outputs.add(name=name)
        for key, value in parameters.items():
            if isinstance(value, bool):
                message.parameters[key].bool_param = value
            elif isinstance(value, int):
                message.parameters[key].int64_param = value
            elif isinstance(value, float):
                message.parameters[key].double_param = value
            else:
                message.parameters[key].string_param = str(value)
        return message

    return make
