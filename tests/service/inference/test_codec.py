import struct

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from optimizer.artifact.signature import DATATYPES, TensorSpec, numpy_dtype
from service.errors import InvalidArgument
from service.inference import codec
from service.types import InferResponse, Timings
from service.wire.open_inference import grpc_service_pb2 as wire

TYPED = {
    "BOOL": "bool_contents", "INT8": "int_contents", "INT16": "int_contents", "INT32": "int_contents",
    "INT64": "int64_contents", "UINT8": "uint_contents", "UINT16": "uint_contents", "UINT32": "uint_contents",
    "UINT64": "uint64_contents", "FP32": "fp32_contents", "FP64": "fp64_contents", "BYTES": "bytes_contents",
}  # fmt: skip
SHAPES = npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)


@st.composite
def tensors(draw, datatypes=DATATYPES):
    datatype = draw(st.sampled_from(sorted(datatypes)))
    shape = draw(SHAPES)
    if datatype == "BYTES":
        count = int(np.prod(shape))
        array = np.empty(count, object)
        array[:] = draw(st.lists(st.binary(max_size=9), min_size=count, max_size=count))
        return datatype, array.reshape(shape)
    dtype = numpy_dtype(datatype)
    octets = draw(
        st.binary(min_size=int(np.prod(shape)) * dtype.itemsize, max_size=int(np.prod(shape)) * dtype.itemsize)
    )
    array = np.frombuffer(octets, np.uint8) % 2 == 1 if datatype == "BOOL" else np.frombuffer(octets, dtype)
    return datatype, array.reshape(shape)


def same(got, want) -> bool:
    if want.dtype == object:
        return got.dtype == object and got.shape == want.shape and got.ravel().tolist() == want.ravel().tolist()
    return (got.dtype, got.shape, got.tobytes()) == (want.dtype, want.shape, want.tobytes())


@given(tensors())
def test_raw_contents_come_back_bit_for_bit(tensor) -> None:
    datatype, array = tensor
    raw = codec.to_raw(array, datatype)
    assert same(codec.from_raw(raw, "x", datatype, array.shape, array.size, "m"), array)


@given(tensors(TYPED))
def test_typed_contents_come_back_bit_for_bit(tensor) -> None:
    datatype, array = tensor
    contents = wire.InferTensorContents(**{TYPED[datatype]: array.ravel().tolist()})
    got = codec.from_contents(contents, "x", datatype, array.shape, array.size, "m")
    if array.dtype.kind == "f":
        assert np.array_equal(got, array, equal_nan=True)
    else:
        assert same(got, array)


@given(tensors(), st.integers(-3, 3).filter(bool))
def test_raw_contents_of_another_length_are_refused(tensor, extra) -> None:
    datatype, array = tensor
    raw = codec.to_raw(array, datatype)
    wrong = raw + b"\x01" * extra if extra > 0 else raw[:extra]
    if wrong == raw:
        return
    with pytest.raises(InvalidArgument, match="'x'"):
        codec.from_raw(wrong, "x", datatype, array.shape, array.size, "m")


@given(st.binary(max_size=60), st.integers(0, 5))
def test_hostile_strings_are_read_or_refused(raw, elements) -> None:
    try:
        array = codec.from_raw(raw, "x", "BYTES", (elements,), elements, "m")
    except InvalidArgument:
        return
    assert codec.to_raw(array, "BYTES") == raw


def test_a_string_of_four_gigabytes_is_refused_before_memory_is_asked_for() -> None:
    with pytest.raises(InvalidArgument, match="only 3 bytes available"):
        codec.from_raw(struct.pack("<I", 2**32 - 1) + b"abc", "x", "BYTES", (1,), 1, "m")


@pytest.mark.parametrize(
    ("datatype", "value"),
    [("INT8", 128), ("INT8", -129), ("INT16", 32768), ("INT16", -32769), ("UINT8", 256), ("UINT16", 65536)],
)
def test_a_typed_value_that_does_not_fit_its_type_is_refused(datatype, value) -> None:
    contents = wire.InferTensorContents(**{TYPED[datatype]: [0, value]})
    with pytest.raises(InvalidArgument, match=f"does not fit {datatype}"):
        codec.from_contents(contents, "x", datatype, (2,), 2, "m")


@pytest.mark.parametrize("datatype", ["FP16", "BF16"])
def test_half_floats_travel_raw_only(datatype) -> None:
    contents = wire.InferTensorContents(fp32_contents=[1.0])
    with pytest.raises(InvalidArgument, match="raw_input_contents only"):
        codec.from_contents(contents, "x", datatype, (1,), 1, "m")


def test_the_wrong_typed_field_is_named_with_the_right_one() -> None:
    contents = wire.InferTensorContents(int64_contents=[1])
    with pytest.raises(InvalidArgument, match=r"unexpected explicit tensor data.*fp32_contents, not in int64_contents"):
        codec.from_contents(contents, "x", "FP32", (1,), 1, "m")
    with pytest.raises(InvalidArgument, match="expected 2 elements and got 1"):
        codec.from_contents(wire.InferTensorContents(fp32_contents=[1]), "x", "FP32", (2,), 2, "m")


def test_raw_tensors_are_views_into_the_message() -> None:
    raw = np.arange(8, dtype=np.float32).tobytes()
    array = codec.from_raw(raw, "x", "FP32", (2, 4), 8, "m")
    assert not array.flags.owndata
    assert not array.flags.writeable


def test_bools_beyond_one_become_true() -> None:
    array = codec.from_raw(b"\x00\x01\x02\xff", "x", "BOOL", (4,), 4, "m")
    assert array.view(np.uint8).tolist() == [0, 1, 1, 1]


@given(st.lists(tensors(), min_size=1, max_size=4), st.data())
def test_an_answer_holds_the_wanted_outputs_in_the_order_asked(given_outputs, data) -> None:
    specs = [
        TensorSpec(name=f"y{number}", datatype=datatype, shape=array.shape)
        for number, (datatype, array) in enumerate(given_outputs)
    ]
    wanted = data.draw(st.permutations(range(len(specs))).flatmap(lambda order: st.just(order[: len(order)])))
    response = InferResponse(tuple(array for _, array in given_outputs), Timings(1, 2, 3, 4))
    message = wire.ModelInferResponse.FromString(codec.encode(response, "m", "r1.int8", "id", specs, wanted))
    assert (message.model_name, message.model_version, message.id) == ("m", "r1.int8", "id")
    assert {key: value.int64_param for key, value in message.parameters.items()} == {
        "queue_ns": 1, "batch_ns": 2, "compute_ns": 3, "batch_rows": 4,
    }  # fmt: skip
    assert [output.name for output in message.outputs] == [f"y{position}" for position in wanted]
    for output, raw, position in zip(message.outputs, message.raw_output_contents, wanted, strict=True):
        datatype, array = given_outputs[position]
        assert (output.datatype, tuple(output.shape)) == (datatype, array.shape)
        assert not output.HasField("contents")
        assert same(codec.from_raw(raw, output.name, datatype, array.shape, array.size, "m"), array)


@given(st.binary(max_size=200))
def test_bytes_that_are_no_message_are_refused_in_a_sentence(payload) -> None:
    try:
        wire.ModelInferRequest.FromString(payload)
    except DecodeError:
        with pytest.raises(InvalidArgument, match="ModelInferRequest"):
            codec.decode(payload)
    else:
        assert codec.decode(payload) == wire.ModelInferRequest.FromString(payload)
