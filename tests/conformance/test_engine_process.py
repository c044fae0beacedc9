"""What an engine process lives through: changes under load, floods, malformed bytes, neighbours, signals."""

import contextlib
import functools
import itertools
import queue
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent import futures

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from tritonclient.utils import InferenceServerException

from service.wire.stillroom.internal.v1 import engine_service_pb2 as wire

INFER = "/inference.GRPCInferenceService/ModelInfer"
PATIENCE_SECONDS = 30.0
_CALIBRATIONS = 5


@pytest.fixture(params=["native", "grpcio"])
def transport(request) -> str:
    return str(request.param)


@pytest.fixture
def connect():
    clients = []

    def make(engine) -> triton.InferenceServerClient:
        clients.append(triton.InferenceServerClient(engine.url))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


def tensor(name: str, datatype: str, array: np.ndarray):
    made = triton.InferInput(name, array.shape, datatype)
    made.set_data_from_numpy(array)
    return made


def scale(client, **options) -> str | None:
    """Asks once; what was wrong, if anything was."""
    try:
        result = client.infer("scale", [tensor("x", "FP32", np.ones((1, 4), np.float32))], **options)
    except InferenceServerException as error:
        return f"{error.status()} {error.message()}"
    version = result.get_response().model_version
    factor = float(version.removeprefix("r1.x"))
    return None if result.as_numpy("y").tolist() == [[factor] * 4] else f"a wrong answer of {version}"


def spin(client, done: queue.Queue, turns: int, **options):
    """Asks the slow model without waiting; the outcome comes to the queue."""
    inputs = [tensor("turns", "INT64", np.array([turns]))]
    return client.async_infer("slow", inputs, lambda result, error: done.put(error), **options)


def turns_that_take(client, seconds: float) -> int:
    """How often the slow model must turn to take at least so long here; other work on the host only adds to it."""
    least = float("inf")
    for _ in range(_CALIBRATIONS):
        began = time.monotonic()
        client.infer("slow", [tensor("turns", "INT64", np.array([500]))])
        least = min(least, time.monotonic() - began)
    return max(500, int(500 * seconds / least))


def test_variants_and_traffic_change_under_load_without_one_failed_or_misrouted_request(
    start_engine, connect, load, transport
) -> None:
    engine = start_engine(transport=transport)
    client = connect(engine)
    held = functools.partial(engine.held, "scale")
    engine.apply(held("r1.x1", source=True))
    with load(lambda: scale(client)) as asked:
        engine.apply(held("r1.x1"), held("r1.x2"), traffic=[engine.table("scale", 1, x1=5000, x2=5000)])
        for generation, (old, new) in enumerate(itertools.pairwise(("x2", "x3", "x4", "x5")), start=2):
            engine.apply(
                held(f"r1.{old}"), held(f"r1.{new}"), traffic=[engine.table("scale", generation, **{new: 10_000})]
            )
            before = asked.answered
            engine.apply(held(f"r1.{new}"), traffic=[engine.table("scale", generation, **{new: 10_000})])
            assert client.get_model_metadata("scale").versions == [f"r1.{new}"]
        engine.wait_until(lambda _: asked.answered > before)
    assert asked.problems == []
    assert asked.answered > 50


def test_a_termination_signal_lets_running_requests_finish(start_engine, connect, transport) -> None:
    engine = start_engine(transport=transport, drain_seconds=20)
    client = connect(engine)
    engine.apply(engine.held("slow", source=True), engine.held("scale", "r1.x1", source=True))
    turns = turns_that_take(client, 0.15)
    done: queue.Queue = queue.Queue()
    for _ in range(5):
        spin(client, done, turns)
    _until(lambda: "stillroom_queue_depth" in _scrape(engine) and _depth(engine) >= 3)
    exit_code: queue.Queue = queue.Queue()
    threading.Thread(target=lambda: exit_code.put(engine.stop())).start()
    refused = _until(lambda: scale(client))
    assert "shutting down and has stopped accepting new requests" in refused
    assert [done.get(timeout=PATIENCE_SECONDS) for _ in range(5)] == [None] * 5
    assert exit_code.get(timeout=PATIENCE_SECONDS) == 0, engine.log.read_text()


def test_a_request_that_never_ends_does_not_keep_the_engine(start_engine, connect, transport) -> None:
    engine = start_engine(transport=transport, drain_seconds=0.2)
    client = connect(engine)
    engine.apply(engine.held("slow", source=True))
    done: queue.Queue = queue.Queue()
    spin(client, done, turns_that_take(client, 20))
    began = time.monotonic()
    assert engine.stop() == 0, engine.log.read_text()
    assert time.monotonic() - began < 10


def test_an_engine_serves_what_it_last_held_without_control(start_engine, connect) -> None:
    engine = start_engine()
    split = engine.table("scale", 7, x1=2000, x2=8000)
    engine.apply(engine.held("scale", "r1.x1", source=True), engine.held("scale", "r1.x2"), traffic=[split])
    client = connect(engine)
    keyed = [_answered_by(client, parameters={"routing_key": str(key)}) for key in range(50)]
    engine.stop(signal.SIGKILL)
    engine.start()
    state = engine.wait_until(lambda state: [a.generation for a in state.applied] == [7])
    assert state.desired_version == engine.version
    again = connect(engine)
    assert [_answered_by(again, parameters={"routing_key": str(key)}) for key in range(50)] == keyed


def test_a_copy_of_the_state_that_cannot_be_read_is_no_obstacle(start_engine, connect) -> None:
    engine = start_engine()
    engine.stop(signal.SIGKILL)
    engine.home.engine_table.write_bytes(b"\xff\x00 nonsense")
    engine.start()
    engine.apply(engine.held("scale", "r1.x1", source=True))
    assert scale(connect(engine)) is None


def test_it_lives_soon_and_before_its_models_do(start_engine, connect) -> None:
    began = time.monotonic()
    engine = start_engine()
    client = connect(engine)

    def live() -> bool:
        with contextlib.suppress(InferenceServerException):
            return bool(client.is_server_live())
        return False

    _until(live)
    # Two seconds on a free host; the cores here are shared with other tests.
    assert time.monotonic() - began < 6
    assert client.is_server_ready()


def test_a_flood_is_refused_at_the_door_and_passes(start_engine, connect, transport) -> None:
    engine = start_engine(transport=transport, queue_capacity=4)
    client = connect(engine)
    engine.apply(engine.held("slow", source=True))
    turns = turns_that_take(client, 0.05)
    done: queue.Queue = queue.Queue()
    for _ in range(60):
        spin(client, done, turns)
    outcomes = [done.get(timeout=PATIENCE_SECONDS) for _ in range(60)]
    refused = [error for error in outcomes if error is not None]
    assert 4 <= 60 - len(refused) < 60
    assert {(error.status(), error.message()) for error in refused} == {
        ("StatusCode.UNAVAILABLE", "Exceeds maximum queue size")
    }
    assert client.is_server_live()
    spin(client, done, 1)
    assert done.get(timeout=PATIENCE_SECONDS) is None
    assert f'code="UNAVAILABLE",model="slow",variant="r1.fp32"}} {len(refused)}.0' in _scrape(engine)


def test_patience_deadlines_and_cancellations_spare_the_model(start_engine, connect, transport) -> None:
    engine = start_engine(transport=transport)
    client = connect(engine)
    engine.apply(engine.held("slow", source=True))
    turns = turns_that_take(client, 0.5)
    first, impatient, late, gone = (queue.Queue() for _ in range(4))
    spin(client, first, turns)
    spin(client, impatient, turns, timeout=1000)
    spin(client, late, turns, client_timeout=0.1)
    context = spin(client, gone, turns)
    _until(lambda: _depth(engine) == 3)
    context.cancel()
    assert first.get(timeout=PATIENCE_SECONDS) is None
    assert impatient.get(timeout=PATIENCE_SECONDS).message() == "Request timeout expired"
    assert late.get(timeout=PATIENCE_SECONDS).status() == "StatusCode.DEADLINE_EXCEEDED"
    assert "cancel" in str(gone.get(timeout=PATIENCE_SECONDS)).lower()
    counts = _until(lambda: _depth(engine) == 0 and 'code="CANCELLED"' in _scrape(engine) and _scrape(engine))
    runs = _CALIBRATIONS + 1
    assert f'stillroom_compute_seconds_count{{model="slow",variant="r1.fp32"}} {runs}.0' in counts


def test_malformed_bytes_are_answered_and_harm_nobody(start_engine, connect, load, transport) -> None:
    engine = start_engine(transport=transport, max_message_bytes=100_000)
    client = connect(engine)
    engine.apply(engine.held("scale", "r1.x1", source=True))
    rng = random.Random(7)
    with load(lambda: scale(client), threads=1) as asked, grpc.insecure_channel(engine.url) as channel:
        call = channel.unary_unary(INFER)
        for size in (0, 1, 3, 10, 100, 1000):
            for _ in range(20):
                with pytest.raises(grpc.RpcError) as error:
                    call(rng.randbytes(size), timeout=PATIENCE_SECONDS)
                assert error.value.code() in (grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND)
        with pytest.raises(grpc.RpcError) as error:
            call(b"x" * 100_001, timeout=PATIENCE_SECONDS)
        assert error.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        for garbage in (
            b"GET / HTTP/1.1\r\n\r\n",
            rng.randbytes(5000),
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + rng.randbytes(99),
        ):
            with socket.create_connection(("127.0.0.1", engine.port)) as raw:
                raw.sendall(garbage)
    assert asked.problems == []
    assert asked.answered > 10


def test_control_may_be_killed_while_inference_goes_on(start_engine, connect, load, transport) -> None:
    engine = start_engine(transport=transport)
    client = connect(engine)
    engine.apply(engine.held("scale", "r1.x1", source=True))

    class Behind(grpc.GenericRpcHandler):
        def service(self, handler_call_details):
            return grpc.unary_unary_rpc_method_handler(lambda request, context: b"control")

    def say() -> bytes | str:
        try:
            return channel.unary_unary("/stillroom.v1.Anything/Do")(b"", timeout=PATIENCE_SECONDS)
        except grpc.RpcError as error:
            return f"{error.code().name} {error.details()}"

    with load(lambda: scale(client)) as asked, grpc.insecure_channel(engine.url) as channel:
        assert say().startswith("UNAVAILABLE this call is answered by the control process")
        for _ in range(2):
            server = grpc.server(futures.ThreadPoolExecutor(2), handlers=(Behind(),))
            server.add_insecure_port(f"unix:{engine.home.control_socket}")
            server.start()
            _until(lambda: say() == b"control")
            server.stop(None).wait()
            _until(lambda: str(say()).startswith("UNAVAILABLE this call is answered by the control process"))
    assert asked.problems == []


def test_a_second_engine_takes_nothing_from_the_first(start_engine) -> None:
    engine = start_engine()

    def start_another(**changes: object) -> str:
        settings = engine.settings.model_copy(update=changes)
        done = subprocess.run(
            [sys.executable, "-m", "service.engine", settings.model_dump_json()],
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
        )
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        return done.stderr

    assert "already running" in start_another()
    for transport in ("native", "grpcio"):
        assert str(engine.port) in start_another(index=1, grpc_port=engine.port, transport=transport)
    assert engine.control.Scrape(wire.ScrapeRequest()).text


def _scrape(engine) -> str:
    return engine.control.Scrape(wire.ScrapeRequest(), timeout=PATIENCE_SECONDS).text.decode()


def _depth(engine) -> int:
    """Requests that wait, over all variants."""
    lines = [line for line in _scrape(engine).splitlines() if line.startswith("stillroom_queue_depth{")]
    return int(sum(float(line.split()[-1]) for line in lines))


def _answered_by(client, **options) -> str:
    result = client.infer("scale", [tensor("x", "FP32", np.ones((1, 4), np.float32))], **options)
    return str(result.get_response().model_version)


def _until(holds):
    """Asks until the answer is true, and returns it."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    pause = threading.Event()
    while not (answer := holds()):
        assert time.monotonic() < deadline, "it did not come to pass"
        pause.wait(0.01)
    return answer
