"""A stock tritonclient, synchronous and asyncio, against a real engine on both transports."""

import asyncio
import contextlib
import functools
import queue
import threading

import numpy as np
import pytest
import tritonclient.grpc as triton
import tritonclient.grpc.aio as triton_aio
from tritonclient.utils import InferenceServerException


@pytest.fixture(scope="module")
def client(engine):
    made = triton.InferenceServerClient(engine.url)
    yield made
    made.close()


def tensor(name: str, datatype: str, array: np.ndarray):
    made = triton.InferInput(name, array.shape, datatype)
    made.set_data_from_numpy(array)
    return made


def simple(rows: int = 1):
    one = np.arange(rows * 16, dtype=np.int32).reshape(rows, 16)
    return one, [tensor("INPUT0", "INT32", one), tensor("INPUT1", "INT32", np.ones_like(one))]


def test_health_and_metadata(client) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("simple")
    assert client.is_model_ready("simple", "r1.fp32")
    assert not client.is_model_ready("simple", "9")
    assert not client.is_model_ready("nothing")
    assert client.get_server_metadata().name == "stillroom"
    metadata = client.get_model_metadata("simple", as_json=True)
    assert metadata["versions"] == ["r1.fp32"]
    assert metadata["inputs"][1] == {"name": "INPUT1", "datatype": "INT32", "shape": ["-1", "16"]}
    config = client.get_model_config("simple").config
    assert (config.max_batch_size, config.input[0].data_type, list(config.input[0].dims)) == (8, 8, [16])
    assert client.get_model_config("fixed").config.max_batch_size == 0
    index = client.get_model_repository_index()
    assert {("simple", "r1.fp32", "READY"), ("scale", "r1.x2", "READY")} <= {
        (model.name, model.version, model.state) for model in index.models
    }
    client.infer("simple", simple()[1])
    assert client.get_inference_statistics("simple").model_stats[0].inference_count >= 1


@pytest.mark.parametrize("rows", [1, 3, 8])
def test_sums_and_differences(client, rows) -> None:
    one, inputs = simple(rows)
    result = client.infer("simple", inputs, request_id="mine")
    assert np.array_equal(result.as_numpy("OUTPUT0"), one + 1)
    assert np.array_equal(result.as_numpy("OUTPUT1"), one - 1)
    response = result.get_response()
    assert (response.id, response.model_name, response.model_version) == ("mine", "simple", "r1.fp32")
    assert response.parameters["compute_ns"].int64_param > 0


def test_only_the_outputs_that_are_asked_for(client) -> None:
    result = client.infer("simple", simple()[1], outputs=[triton.InferRequestedOutput("OUTPUT1")])
    assert [output.name for output in result.get_response().outputs] == ["OUTPUT1"]


@pytest.mark.parametrize(
    ("model", "datatype", "array"),
    [
        ("text", "BYTES", np.array([[b"one", "zwölf".encode()], [b"", b"x" * 1000]], object)),
        ("half", "FP16", np.array([[1.5, -2.0, 65504.0]], np.float16)),
        ("bool", "BOOL", np.array([[True, False]])),
        ("identity", "FP32", np.random.default_rng(0).normal(size=(2, 100_000)).astype(np.float32)),
        ("identity", "FP32", np.zeros((1, 0), np.float32)),
    ],
    ids=["text", "half", "bool", "large", "empty"],
)
def test_tensors_come_back_as_they_were_sent(client, model, datatype, array) -> None:
    result = client.infer(model, [tensor("INPUT0", datatype, array)]).as_numpy("OUTPUT0")
    assert result.shape == array.shape
    assert result.ravel().tolist() == array.ravel().tolist()


def test_a_model_without_a_batch_axis(client) -> None:
    a, b = np.arange(6, dtype=np.float32).reshape(2, 3), np.ones((3, 2), np.float32)
    result = client.infer("fixed", [tensor("a", "FP32", a), tensor("b", "FP32", b)])
    assert np.array_equal(result.as_numpy("c"), a @ b)


def test_many_requests_at_once_each_get_their_own_answer(client) -> None:
    done: queue.Queue[tuple[int, object, object]] = queue.Queue()
    for number in range(200):
        value = np.full((1, 4), number, np.float32)
        client.async_infer(
            "scale",
            [tensor("x", "FP32", value)],
            functools.partial(lambda number, result, error: done.put((number, result, error)), number),
        )
    for _ in range(200):
        number, result, error = done.get(timeout=30)
        assert error is None
        factor = int(result.get_response().model_version.removeprefix("r1.x"))
        assert result.as_numpy("y").tolist() == [[number * factor] * 4]


def test_a_split_is_followed_a_key_sticks_and_a_version_pins(client) -> None:
    inputs = [tensor("x", "FP32", np.ones((1, 4), np.float32))]

    def answered_by(**options) -> str:
        return client.infer("scale", inputs, **options).get_response().model_version

    drawn = [answered_by() for _ in range(100)]
    assert 40 <= drawn.count("r1.x1") <= 60
    keyed = {key: {answered_by(parameters={"routing_key": key}) for _ in range(5)} for key in "abcdefghijklmnop"}
    assert all(len(variants) == 1 for variants in keyed.values())
    assert len({variant for variants in keyed.values() for variant in variants}) == 2
    assert {answered_by(model_version="r1.x2") for _ in range(5)} == {"r1.x2"}


@pytest.mark.parametrize(
    ("model", "inputs", "options", "status", "message"),
    [
        ("nothing", [], {}, "NOT_FOUND", "Request for unknown model: 'nothing' is not found"),
        ("simple", simple()[1], {"model_version": "9"}, "NOT_FOUND", "'simple' version 9 is not found"),
        ("simple", simple()[1][:1], {}, "INVALID_ARGUMENT", "expected 2 inputs but got 1 inputs for model 'simple'"),
        ("simple", simple(9)[1], {}, "INVALID_ARGUMENT", "inference request batch-size must be <= 8 for 'simple'"),
        (
            "lookup",
            [tensor("ids", "INT64", np.array([99]))],
            {},
            "INVALID_ARGUMENT",
            "the model cannot take these values",
        ),
        (
            "simple",
            simple()[1],
            {"outputs": [triton.InferRequestedOutput("X")]},
            "INVALID_ARGUMENT",
            "unexpected inference output 'X' for model 'simple'",
        ),
    ],
    ids=["model", "version", "inputs", "rows", "values", "outputs"],
)
def test_what_is_wrong_is_said(client, model, inputs, options, status, message) -> None:
    with pytest.raises(InferenceServerException) as error:
        client.infer(model, inputs, **options)
    assert error.value.status() == f"StatusCode.{status}"
    assert message in error.value.message()
    assert client.is_server_live()


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.load_model("simple"),
        lambda client: client.get_system_shared_memory_status(),
        lambda client: client.get_trace_settings(),
    ],
)
def test_what_is_not_offered_is_unimplemented(client, call) -> None:
    with pytest.raises(InferenceServerException) as error:
        call(client)
    assert error.value.status() == "StatusCode.UNIMPLEMENTED"


def test_a_stream_without_control_is_answered_in_a_sentence(client) -> None:
    ended = threading.Event()
    problems: list[str] = []

    def callback(result, error) -> None:
        problems.append(str(error))
        ended.set()

    client.start_stream(callback)
    # The refusal may be there before the first message is.
    with contextlib.suppress(InferenceServerException):
        client.async_stream_infer("simple", simple()[1])
    assert ended.wait(10)
    client.stop_stream(cancel_requests=True)
    assert "control process" in problems[0]


def test_asyncio(engine) -> None:
    async def run() -> None:
        client = triton_aio.InferenceServerClient(engine.url)
        assert await client.is_server_ready()
        results = await asyncio.gather(
            *(
                client.infer("identity", [tensor("INPUT0", "FP32", np.full((1, 3), number, np.float32))])
                for number in range(100)
            )
        )
        assert [result.as_numpy("OUTPUT0")[0, 0] for result in results] == list(range(100))
        with pytest.raises(InferenceServerException):
            await client.infer("nothing", [])
        await client.close()

    asyncio.run(run())
