"""A real engine process on each transport, the models it serves, and control's side of its socket."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from optimizer.artifact import digest
from service.home import Home
from service.settings import EngineSettings
from service.wire.stillroom.internal.v1 import engine_service_pb2 as wire
from service.wire.stillroom.internal.v1 import engine_service_pb2_grpc as wire_grpc

PATIENCE_SECONDS = 30.0
ONNX_TYPES = {
    "INT32": TensorProto.INT32, "INT64": TensorProto.INT64, "FP32": TensorProto.FLOAT, "FP16": TensorProto.FLOAT16,
    "BYTES": TensorProto.STRING, "UINT8": TensorProto.UINT8, "BOOL": TensorProto.BOOL,
}  # fmt: skip

Tensor = tuple[str, str, list[int | str]]


def build(path: Path, nodes: list, inputs: list[Tensor], outputs: list[Tensor], weights: dict[str, np.ndarray]) -> str:
    """Writes a model; its signature as JSON."""

    def value(tensor: Tensor) -> onnx.ValueInfoProto:
        name, datatype, shape = tensor
        return helper.make_tensor_value_info(name, ONNX_TYPES[datatype], shape)

    initializers = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "g", [*map(value, inputs)], [*map(value, outputs)], initializers)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return json.dumps(
        {
            side: [{"name": name, "datatype": datatype, "shape": shape} for name, datatype, shape in tensors]
            for side, tensors in (("inputs", inputs), ("outputs", outputs))
        }
    )


def build_all(folder: Path) -> dict[tuple[str, str], tuple[Path, str]]:
    """{(model, variant): (path, signature)}. Variants of "scale" multiply by a number of their own."""
    node = helper.make_node
    made: dict[tuple[str, str], tuple[Path, str]] = {}

    def add(model: str, nodes, inputs, outputs, weights=None, variant: str = "r1.fp32") -> None:  # type: ignore[no-untyped-def]
        path = folder / f"{model}-{variant}.onnx"
        made[model, variant] = (path, build(path, nodes, inputs, outputs, weights or {}))

    rng = np.random.default_rng(0)
    add(
        "simple",
        [node("Add", ["INPUT0", "INPUT1"], ["OUTPUT0"]), node("Sub", ["INPUT0", "INPUT1"], ["OUTPUT1"])],
        [("INPUT0", "INT32", ["batch", 16]), ("INPUT1", "INT32", ["batch", 16])],
        [("OUTPUT0", "INT32", ["batch", 16]), ("OUTPUT1", "INT32", ["batch", 16])],
    )
    add(
        "mlp",
        [node("MatMul", ["x", "w1"], ["a"]), node("Relu", ["a"], ["b"]), node("MatMul", ["b", "w2"], ["y"])],
        [("x", "FP32", ["batch", 64])],
        [("y", "FP32", ["batch", 10])],
        {
            "w1": rng.normal(size=(64, 64)).astype(np.float32) / 8,
            "w2": rng.normal(size=(64, 10)).astype(np.float32) / 8,
        },
    )
    for model, datatype in (("text", "BYTES"), ("half", "FP16"), ("bool", "BOOL"), ("identity", "FP32")):
        add(
            model,
            [node("Identity", ["INPUT0"], ["OUTPUT0"])],
            [("INPUT0", datatype, ["batch", "n"])],
            [("OUTPUT0", datatype, ["batch", "n"])],
        )
    add(
        "fixed",
        [node("MatMul", ["a", "b"], ["c"])],
        [("a", "FP32", [2, 3]), ("b", "FP32", [3, 2])],
        [("c", "FP32", [2, 2])],
    )
    add(
        "lookup",
        [node("Gather", ["table", "ids"], ["y"])],
        [("ids", "INT64", ["batch"])],
        [("y", "FP32", ["batch", 2])],
        {"table": np.arange(20, dtype=np.float32).reshape(10, 2)},
    )
    # As slow as it is told to be: multiplies a matrix with itself n times. Zeros stay zeros.
    body = helper.make_graph(
        [node("Identity", ["go"], ["go_on"]), node("MatMul", ["carried", "carried"], ["next"])],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("carried", TensorProto.FLOAT, [128, 128]),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, [128, 128]),
        ],
    )
    add(
        "slow",
        [node("Loop", ["turns", "", "zeros"], ["y"], body=body)],
        [("turns", "INT64", [1])],
        [("y", "FP32", [128, 128])],
        {"zeros": np.zeros((128, 128), np.float32)},
    )
    for number in range(1, 6):
        add(
            "scale",
            [node("Mul", ["x", "factor"], ["y"])],
            [("x", "FP32", ["batch", 4])],
            [("y", "FP32", ["batch", 4])],
            {"factor": np.array(number, np.float32)},
            variant=f"r1.x{number}",
        )
    return made


class EngineProcess:
    """An engine in a process of its own, and control's side of its socket."""

    def __init__(self, home: Home, models: dict[tuple[str, str], tuple[Path, str]], **settings: object) -> None:
        self.home = home
        self.models = models
        # Port 0: the engine finds a free one and says it, and no other process can take it in between.
        self.settings = EngineSettings(home=home.root, grpc_port=0, **settings)  # type: ignore[arg-type]
        self.port = 0
        self.version = 0
        self.log = home.root / "engine.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: grpc.Channel | None = None

    @property
    def url(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Starts the process, and waits until it answers."""
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "service.engine", self.settings.model_dump_json()],
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": os.getcwd()},
            )
        deadline = time.monotonic() + PATIENCE_SECONDS
        pause = threading.Event()
        while (answering := re.search(r"answering inference on .* port (\d+)", self.log.read_text())) is None:
            if self._process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"the engine did not start: {self.log.read_text()}")
            pause.wait(0.01)
        self.port = int(answering[1])
        self._channel = grpc.insecure_channel(
            f"unix:{self.home.engine_socket(0)}", options=(("grpc.max_reconnect_backoff_ms", 100),)
        )
        self.control = wire_grpc.EngineServiceStub(self._channel)

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Sends a signal; the exit code."""
        assert self._process is not None
        if self._channel is not None:
            self._channel.close()
        self._process.send_signal(number)
        try:
            return self._process.wait(PATIENCE_SECONDS)
        finally:
            self._process.kill()
            self._process.wait()

    def held(self, model: str, variant: str = "r1.fp32", source: bool = False) -> wire.HeldVariant:
        path, signature = self.models[model, variant]
        return wire.HeldVariant(
            tenant="default",
            model=model,
            variant=variant,
            model_path=str(path),
            digest=digest.of_file(path),
            signature_json=signature,
            source=source,
        )

    def table(self, model: str, generation: int, **shares: int) -> wire.TrafficTable:
        """Shares of variants r1.<name>."""
        return wire.TrafficTable(
            tenant="default",
            model=model,
            generation=generation,
            salt="salt",
            arms=[wire.TrafficArm(variant=f"r1.{name}", basis_points=points) for name, points in shares.items()],
        )

    def apply(self, *held: wire.HeldVariant, traffic: list[wire.TrafficTable] | None = None) -> None:
        """Sets the desired state and waits until it is reached."""
        self.version += 1
        desired = wire.DesiredState(version=self.version, variants=held, traffic=traffic or [])
        self.control.Apply(wire.ApplyRequest(desired=desired), timeout=PATIENCE_SECONDS)
        self.wait_until(
            lambda state: (
                {(s.model, s.variant): s.state for s in state.servables}
                == {(h.model, h.variant): "READY" for h in held}
                and {(a.model, a.generation) for a in state.applied}
                == {(t.model, t.generation) for t in desired.traffic}
            )
        )

    def wait_until(self, holds: Callable[[wire.EngineState], bool]) -> wire.EngineState:
        """Watches until the state is as wanted."""
        watch = self.control.Watch(wire.WatchRequest(), timeout=PATIENCE_SECONDS)
        try:
            for update in watch:
                if holds(update.state):
                    return update.state
        except grpc.RpcError as error:
            pytest.fail(f"the engine did not get there: {error.code()} {self.control.Apply(wire.ApplyRequest())}")
        finally:
            watch.cancel()
        pytest.fail("the engine ended its watch")


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], tuple[Path, str]]:
    return build_all(tmp_path_factory.mktemp("models"))


@pytest.fixture
def start_engine(tmp_path: Path, models) -> Iterator[Callable[..., EngineProcess]]:
    """Starts an engine of its own for a test."""
    started: list[EngineProcess] = []

    def start(**settings: object) -> EngineProcess:
        home = Home(tmp_path / f"home{len(started)}")
        home.create()
        engine = EngineProcess(home, models, **settings)
        started.append(engine)
        engine.start()
        return engine

    yield start
    for engine in started:
        engine.stop(signal.SIGKILL)


@pytest.fixture(scope="module", params=["native", "grpcio"])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, models) -> Iterator[EngineProcess]:
    """An engine with all models, shared by the tests of a module: leave its desired state alone."""
    home = Home(tmp_path_factory.mktemp("engine") / "home")
    home.create()
    made = EngineProcess(home, models, transport=request.param, max_batch=8)
    made.start()
    others = [made.held(model, variant, source=True) for model, variant in models if model != "scale"]
    made.apply(
        *others,
        made.held("scale", "r1.x1", source=True),
        made.held("scale", "r1.x2"),
        traffic=[made.table("scale", 1, x1=5000, x2=5000)],
    )
    yield made
    assert made.stop() == 0, made.log.read_text()


class Load:
    """Threads that ask again and again until `stop`; what went wrong is kept."""

    def __init__(self, ask: Callable[[], str | None], threads: int = 4) -> None:
        self.answered = 0
        self.problems: list[str] = []
        self._ask = ask
        self._over = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]

    def __enter__(self) -> "Load":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join(PATIENCE_SECONDS)

    def _run(self) -> None:
        while not self._over.is_set():
            problem = self._ask()
            with self._lock:
                self.answered += 1
                if problem is not None:
                    self.problems.append(problem)


@pytest.fixture
def load() -> type[Load]:
    return Load
