import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.artifact.signature import Signature, TensorSpec
from service.errors import InvalidArgument, Unimplemented
from service.inference.validate import Parameters, Validator, read_parameters
from service.wire.open_inference import grpc_service_pb2 as wire

SIMPLE = Signature(
    inputs=(
        TensorSpec(name="INPUT0", datatype="INT32", shape=("batch", 16)),
        TensorSpec(name="INPUT1", datatype="INT32", shape=("batch", 16)),
    ),
    outputs=(
        TensorSpec(name="OUTPUT0", datatype="INT32", shape=("batch", 16)),
        TensorSpec(name="OUTPUT1", datatype="INT32", shape=("batch", 16)),
    ),
)
TEXT = Signature(
    inputs=(
        TensorSpec(name="ids", datatype="INT64", shape=("batch", "sequence")),
        TensorSpec(name="mask", datatype="INT64", shape=("batch", "sequence")),
    ),
    outputs=(TensorSpec(name="logits", datatype="FP32", shape=("batch", 2)),),
    limits={"sequence": 128},
)


def ints(rows: int = 1, width: int = 16, dtype=np.int32) -> np.ndarray:
    return np.arange(rows * width, dtype=dtype).reshape(rows, width)


@pytest.fixture
def simple() -> Validator:
    return Validator("simple", SIMPLE, max_batch=8)


def refused(validator, message, kind=InvalidArgument) -> str:
    with pytest.raises(kind) as error:
        validator.check(message)
    return str(error.value)


def test_a_fitting_request_becomes_arrays_in_the_signatures_order(simple, to_request) -> None:
    one, two = ints(3), ints(3) * 2
    message = to_request({"INPUT1": ("INT32", two), "INPUT0": ("INT32", one)}, outputs=("OUTPUT1",), request_id="7")
    request = simple.check(message)
    assert [array.tolist() for array in request.arrays] == [one.tolist(), two.tolist()]
    assert (request.id, request.rows, request.shapes, request.outputs) == ("7", 3, ((16,), (16,)), (1,))


def test_a_model_without_a_batch_axis_takes_its_whole_shape(to_request) -> None:
    signature = Signature(
        inputs=(TensorSpec(name="x", datatype="FP32", shape=(2, 3)),),
        outputs=(TensorSpec(name="y", datatype="FP32", shape=()),),
    )
    validator = Validator("m", signature, 0)
    request = validator.check(to_request({"x": ("FP32", np.zeros((2, 3), np.float32))}))
    assert (request.rows, request.shapes, request.outputs) == (1, ((2, 3),), (0,))
    assert "Expected [2,3], got [1,2,3]" in refused(
        validator, to_request({"x": ("FP32", np.zeros((1, 2, 3), np.float32))})
    )


@pytest.mark.parametrize(
    ("inputs", "outputs", "message"),
    [
        (
            {"INPUT0": ("INT32", ints())},
            (),
            "expected 2 inputs but got 1 inputs for model 'simple'. Got input(s) ['INPUT0'], "
            "but missing required input(s) ['INPUT1']. Please provide all required input(s).",
        ),
        (
            {"INPUT0": ("INT32", ints()), "X": ("INT32", ints())},
            (),
            "unexpected inference input 'X' for model 'simple'",
        ),
        (
            {"INPUT0": ("FP32", ints(dtype=np.float32)), "INPUT1": ("INT32", ints())},
            (),
            "inference input 'INPUT0' data-type is 'FP32', but model 'simple' expects 'INT32'",
        ),
        (
            {"INPUT0": ("INT32", ints(width=8)), "INPUT1": ("INT32", ints())},
            (),
            "unexpected shape for input 'INPUT0' for model 'simple'. Expected [-1,16], got [1,8]. ",
        ),
        (
            {"INPUT0": ("INT32", ints()[0]), "INPUT1": ("INT32", ints())},
            (),
            "unexpected shape for input 'INPUT0' for model 'simple'. Expected [-1,16], got [16]. ",
        ),
        (
            {"INPUT0": ("INT32", ints(9)), "INPUT1": ("INT32", ints(9))},
            (),
            "inference request batch-size must be <= 8 for 'simple'",
        ),
        (
            {"INPUT0": ("INT32", ints(0)), "INPUT1": ("INT32", ints(0))},
            (),
            "inference request batch-size must be >= 1 for 'simple'",
        ),
        (
            {"INPUT0": ("INT32", ints(2)), "INPUT1": ("INT32", ints(3))},
            (),
            "input 'INPUT1' batch size does not match other inputs for 'simple'",
        ),
        (
            {"INPUT0": ("INT32", ints()), "INPUT1": ("INT32", ints())},
            ("OUTPUT9",),
            "unexpected inference output 'OUTPUT9' for model 'simple'",
        ),
        (
            {"INPUT0": ("INT32", ints()), "INPUT1": ("INT32", ints())},
            ("OUTPUT0", "OUTPUT0"),
            "output 'OUTPUT0' already exists in request",
        ),
    ],
)
def test_what_does_not_fit_is_refused_in_tritons_words(simple, to_request, inputs, outputs, message) -> None:
    assert refused(simple, to_request(inputs, outputs)).startswith(message)


def both(to_request):
    return to_request({"INPUT0": ("INT32", ints()), "INPUT1": ("INT32", ints())})


def test_a_doubled_input_is_refused(simple, to_request) -> None:
    message = both(to_request)
    message.inputs[1].name = "INPUT0"
    assert refused(simple, message) == "input 'INPUT0' already exists in request"


def test_a_byte_size_that_differs_from_the_shape_is_refused(simple, to_request) -> None:
    message = both(to_request)
    message.raw_input_contents[0] += b"\0" * 8
    assert refused(simple, message) == (
        "input byte size mismatch for input 'INPUT0' for model 'simple'. Expected 64, got 72"
    )


def test_a_negative_size_is_refused_as_what_it_is(simple, to_request) -> None:
    message = both(to_request)
    message.inputs[0].shape[0] = -1
    assert refused(simple, message) == (
        "unexpected shape for input 'INPUT0' for model 'simple'. Expected [-1,16], got [-1,16]. "
        "A request says how large each axis is: no size is negative."
    )


def test_contents_beside_raw_contents_are_refused(simple, to_request) -> None:
    message = both(to_request)
    message.inputs[0].contents.int_contents.extend(range(16))
    assert refused(simple, message).startswith(
        "contents field must not be specified when using raw_input_contents for 'INPUT0' for model 'simple'"
    )


def test_an_input_without_data_and_data_without_an_input_are_refused(simple, to_request) -> None:
    message = both(to_request)
    del message.raw_input_contents[:]
    assert refused(simple, message).startswith("unable to find data for input tensor 'INPUT0' for model 'simple'")
    message = both(to_request)
    message.raw_input_contents.append(b"")
    assert "expected 2 entries in raw_input_contents" in refused(simple, message)


def test_typed_contents_are_taken(simple, to_request) -> None:
    message = both(to_request)
    del message.raw_input_contents[:]
    for tensor in message.inputs:
        tensor.contents.int_contents.extend(range(16))
    assert simple.check(message).arrays[1].tolist() == [list(range(16))]


@given(st.lists(st.integers(-(2**63), 2**63 - 1), max_size=6))
def test_no_shape_overflows(shape) -> None:
    signature = Signature(
        inputs=(TensorSpec(name="x", datatype="FP32", shape=tuple(f"axis{number}" for number in range(len(shape)))),),
        outputs=(TensorSpec(name="y", datatype="FP32", shape=()),),
    )
    message = wire.ModelInferRequest(raw_input_contents=[b"\0" * 8])
    message.inputs.add(name="x", datatype="FP32", shape=shape)
    try:
        request = Validator("m", signature, 0).check(message)
    except InvalidArgument:
        return
    assert request.arrays[0].nbytes == 8


def test_axes_of_one_name_have_one_size_within_their_limit(to_request) -> None:
    validator = Validator("bert", TEXT, 8)

    def message(ids: int, mask: int):
        return to_request({"ids": ("INT64", ints(2, ids, np.int64)), "mask": ("INT64", ints(2, mask, np.int64))})

    assert validator.check(message(7, 7)).shapes == ((7,), (7,))
    assert "axis 'sequence' of input 'mask' for model 'bert' has size 8, but size 7" in refused(
        validator, message(7, 8)
    )
    assert "has size 129; at most 128 is allowed" in refused(validator, message(129, 129))


def test_extensions_that_are_not_offered_say_so(simple, to_request) -> None:
    message = both(to_request)
    message.inputs[0].parameters["shared_memory_region"].string_param = "region"
    del message.raw_input_contents[0]
    assert "shared memory" in refused(simple, message, Unimplemented)
    message = both(to_request)
    message.outputs.add(name="OUTPUT0").parameters["classification"].int64_param = 3
    assert "classification" in refused(simple, message, Unimplemented)
    message = both(to_request)
    message.outputs.add(name="OUTPUT0").parameters["shared_memory_region"].string_param = "region"
    assert "shared memory" in refused(simple, message, Unimplemented)


def test_parameters_that_the_server_reads(to_request) -> None:
    assert read_parameters(to_request({}).parameters) == Parameters(None, None)
    message = to_request({}, routing_key="ada", timeout=1500, priority=3, mine="anything")
    assert read_parameters(message.parameters) == Parameters("ada", 1500)
    assert read_parameters(to_request({}, timeout=0).parameters) == Parameters(None, None)
    message = wire.ModelInferRequest()
    message.parameters["timeout"].uint64_param = 7
    assert read_parameters(message.parameters).timeout_us == 7
    read_parameters(to_request({}, triton_enable_empty_final_response=True).parameters)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"timeout": "soon"}, "invalid value type for 'timeout' parameter"),
        ({"timeout": -1}, "cannot be negative"),
        ({"timeout": 0.5}, "invalid value type for 'timeout' parameter"),
        ({"routing_key": 7}, "invalid value type for 'routing_key' parameter"),
        ({"triton_secret": "x"}, "parameter keys starting with 'triton_' are reserved"),
    ],
)
def test_parameters_of_the_wrong_kind_are_refused(to_request, parameters, message) -> None:
    with pytest.raises(InvalidArgument, match=message):
        read_parameters(to_request({}, **parameters).parameters)
