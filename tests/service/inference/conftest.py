"""Requests as a client would write them, and the engine's graph on a fake front and fake backends."""

import json
import struct
import threading
from collections.abc import Callable

import grpc
import numpy as np
import pytest
from prometheus_client import CollectorRegistry, generate_latest

from optimizer.artifact import digest
from optimizer.artifact.session import SessionSpec
from service.backends.fake import FakeBackend
from service.inference.catalogue import Catalogue
from service.inference.intake import MODEL_INFER, Intake
from service.inference.roster import Roster
from service.metrics import EngineMetrics
from service.models.loader import Loader
from service.models.servable import Servable
from service.transport.fake import FakeCall, FakeFront
from service.wire.open_inference import grpc_service_pb2 as wire
from service.wire.stillroom.internal.v1 import engine_service_pb2 as control


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


SIGNATURE = {
    "inputs": [{"name": "x", "datatype": "FP32", "shape": ["batch", 2]}],
    "outputs": [{"name": "y", "datatype": "FP32", "shape": ["batch", 2]}],
}


class Graph:
    def __init__(self, folder) -> None:
        self.folder = folder
        self.changed = threading.Condition()
        self.gate = threading.Event()
        self.gate.set()
        self.running = threading.Semaphore(0)
        self.broken: set[str] = set()
        self.front = FakeFront()
        self.roster = Roster(
            "engine",
            Loader(self.open),
            lambda description: Servable(description, max_batch=8, queue_capacity=4),
            SessionSpec(),
            self.notify,
        )
        self.registry = CollectorRegistry()
        catalogue = Catalogue("1.2.3", self.roster.router, self.roster.servables, lambda: self.roster.settled, 4, 0)
        self.metrics = EngineMetrics(self.registry, {"version": "1.2.3"}, self.roster.samples)
        self.intake = Intake(self.front, self.roster.router, catalogue.answers(), self.metrics)
        self.version = 0

    def start(self) -> None:
        self.roster.start()
        self.intake.start()

    def stop(self) -> None:
        self.gate.set()
        self.front.close()
        self.intake.join()
        self.roster.stop(5)

    def notify(self) -> None:
        with self.changed:
            self.changed.notify_all()

    def open(self, description) -> FakeBackend:
        factor = float(len(description.variant))

        def function(inputs):
            self.running.release()
            self.gate.wait(10)
            return [inputs[0] * factor]

        if description.variant in self.broken:
            return FakeBackend(lambda inputs: [inputs[0][:0]])
        return FakeBackend(function)

    def held(self, variant: str, model: str = "m", source: bool = False) -> control.HeldVariant:
        path = self.folder / f"{model}-{variant}.onnx"
        path.write_text(variant)
        return control.HeldVariant(
            tenant="default",
            model=model,
            variant=variant,
            model_path=str(path),
            digest=digest.of_file(path),
            signature_json=json.dumps(SIGNATURE),
            source=source,
            labels={"accuracy": "0.9"},
        )

    def table(self, generation: int, model: str = "m", **arms: int) -> control.TrafficTable:
        return control.TrafficTable(
            tenant="default",
            model=model,
            generation=generation,
            salt="s",
            arms=[control.TrafficArm(variant=name, basis_points=points) for name, points in arms.items()],
        )

    def apply(self, *variants, traffic=()) -> bool:
        self.version += 1
        return self.roster.apply(control.DesiredState(version=self.version, variants=variants, traffic=list(traffic)))

    def wait(self, holds) -> None:
        with self.changed:
            assert self.changed.wait_for(holds, 10), self.roster.state()

    def wait_states(self, **states: str) -> None:
        self.wait(lambda: {s.variant: s.state for s in self.roster.state().servables} == states)

    def ask(self, message: wire.ModelInferRequest, **options) -> FakeCall:
        call = FakeCall(MODEL_INFER, message.SerializeToString(), **options)
        self.front.put(call)
        return call

    def infer(self, message: wire.ModelInferRequest) -> wire.ModelInferResponse:
        call = self.ask(message).wait()
        assert call.status is grpc.StatusCode.OK, call.message
        return wire.ModelInferResponse.FromString(call.answer)

    def rpc(self, name: str, request, kind, service: str = "inference.GRPCInferenceService"):
        call = FakeCall(f"/{service}/{name}", request.SerializeToString())
        self.front.put(call)
        call.wait()
        if call.status is not grpc.StatusCode.OK:
            return call.status, call.message
        return kind.FromString(call.answer)

    def scrape(self) -> str:
        return generate_latest(self.registry).decode()


@pytest.fixture
def graph(tmp_path):
    made = Graph(tmp_path)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def ask(to_request):
    def make(value: float = 1.0, rows: int = 1, **options):
        return to_request({"x": ("FP32", np.full((rows, 2), value, np.float32))}, **options)

    return make
