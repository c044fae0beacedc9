"""A server in this process that splits users as the real one does and answers from known predictions."""

import hashlib
import io
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import grpc
import numpy as np
import pytest

from optimizer.artifact.manifest import BatchLatency, Estimate, Hardware, Lineage, Manifest, Measurement, Percentiles
from optimizer.artifact.manifest import Verdict as Gate
from optimizer.artifact.session import SessionSpec
from optimizer.artifact.signature import Signature, TensorSpec
from optimizer.metrics.intervals import wilson
from service.client import tensors
from service.client.fake.inference import Inference
from service.client.fake.models import Models
from service.client.fake.state import State
from service.client.fake.traffic import Traffic
from service.client.fake.variants import Variants
from service.client.inference import ROUTING_KEY
from service.routing.split import Split
from service.wire.open_inference import grpc_service_pb2 as oip
from service.wire.open_inference.grpc_service_pb2_grpc import add_GRPCInferenceServiceServicer_to_server
from service.wire.stillroom.v1 import model_service_pb2 as model_pb2
from service.wire.stillroom.v1 import traffic_service_pb2 as traffic_pb2
from service.wire.stillroom.v1 import variant_service_pb2 as variant_pb2
from service.wire.stillroom.v1.model_service_pb2_grpc import add_ModelServiceServicer_to_server
from service.wire.stillroom.v1.traffic_service_pb2_grpc import add_TrafficServiceServicer_to_server
from service.wire.stillroom.v1.variant_service_pb2_grpc import add_VariantServiceServicer_to_server

MODEL = "digits"
ROWS, CLASSES, FEATURES = 400, 4, 4
SIGNATURE = Signature(
    inputs=(TensorSpec(name="x", datatype="FP32", shape=("batch", FEATURES)),),
    outputs=(TensorSpec(name="logits", datatype="FP32", shape=("batch", CLASSES)),),
)
# The first feature of a row is its number, so that the server knows which row it is asked about.
LABELS = np.arange(ROWS, dtype=np.int64) % CLASSES


def mistaken(every: int) -> np.ndarray:
    """Predictions that are wrong on one row of `every`."""
    return np.where(np.arange(ROWS) % every == 0, (LABELS + 1) % CLASSES, LABELS)


@dataclass
class Arm:
    """A variant: its share in percent, what it said when it was measured, and what it says now."""

    weight: float
    recorded: np.ndarray
    answers: np.ndarray | None = None
    parent: str | None = None


class Labelled(Inference):
    """ModelInfer by row number; refuses the rows in `refused`. Remembers what it was asked."""

    def __init__(self, state: State, arms: Mapping[str, Arm], refused: frozenset[int]) -> None:
        super().__init__(state)
        self._arms = arms
        self._refused = refused
        self._split = Split({name: round(100 * arm.weight) for name, arm in arms.items() if arm.weight}, "salt")
        # (routing key, row, variant) of each answer.
        self.answered: list[tuple[str, int, str]] = []
        self.refusals = 0

    def ModelInfer(self, request: oip.ModelInferRequest, context: grpc.ServicerContext) -> object:  # noqa: N802
        key = request.parameters[ROUTING_KEY].string_param if ROUTING_KEY in request.parameters else ""
        shape = tuple(request.inputs[0].shape)
        row = int(tensors.from_raw(request.raw_input_contents[0], "FP32", shape)[0, 0])
        if row in self._refused:
            self.refusals += 1
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "the queue is full")
        variant = request.model_version or self._split.by_key(key)
        arm = self._arms[variant]
        said = arm.recorded if arm.answers is None else arm.answers
        self.answered.append((key, row, variant))
        scores = np.eye(CLASSES, dtype=np.float32)[[said[row]]]
        response = oip.ModelInferResponse(model_name=request.model_name, model_version=variant)
        response.outputs.add(name="logits", datatype="FP32", shape=list(scores.shape))
        response.raw_output_contents.append(tensors.to_raw(scores))
        return response


@dataclass
class Running:
    """A started server, the data file that it was given, and what it knows."""

    address: str
    data: Path
    state: State
    inference: Labelled
    arms: Mapping[str, Arm] = field(default_factory=dict)

    def rows_answered(self, variant: str) -> Counter[int]:
        """Row to how often the variant answered it."""
        return Counter(row for _, row, who in self.inference.answered if who == variant)

    def users_answered(self, variant: str) -> set[str]:
        """Routing keys of those whom the variant answered."""
        return {key for key, _, who in self.inference.answered if who == variant}


def manifest(name: str, arm: Arm, task: str) -> Manifest:
    """What a variant says of itself when its recorded answers are scored against LABELS."""
    right = int((arm.recorded == LABELS).sum())
    interval = wilson(right, ROWS)
    measured = Measurement(
        dataset_digest="d" * 64,
        rows_digest="e" * 64,
        hardware=Hardware(cpu="Example CPU", cores=2, isa=("avx2",), gpu=None, onnxruntime="1.31.1"),
        session=SessionSpec(),
        metric=Estimate(name="accuracy", value=interval.value, low=interval.low, high=interval.high, n=ROWS),
        latencies=(BatchLatency(batch=1, latency=Percentiles(p50_ms=2.5, p95_ms=3, p99_ms=4, n=100)),),
        peak_memory_bytes=1,
        size_bytes=1,
    )
    lineage = Lineage(
        tenant="default", model=MODEL, checkpoint="r1", checkpoint_digest="c" * 64, parent=arm.parent,
        recipe=name.split(".")[1], recipe_digest="f" * 64, steps=(), seed=0, dataset_digest="d" * 64, splits={},
        tools={},
    )  # fmt: skip
    return Manifest(
        name=name,
        task=task,
        created_at=datetime(2026, 3, 1, tzinfo=UTC),
        digest="a" * 64,
        size_bytes=1,
        signature=SIGNATURE,
        target="cpu",
        lineage=lineage,
        measurements=(measured,),
        verdict=Gate.SOURCE if arm.parent is None else Gate.ACCEPT,
        reason="",
    )


def _store(state: State, path: str, content: bytes) -> model_pb2.File:
    sha256 = hashlib.sha256(content).hexdigest()
    state.files[sha256] = content
    return model_pb2.File(path=path, sha256=sha256, size_bytes=len(content))


def _state(arms: Mapping[str, Arm], data: Path, task: str, split: str) -> State:
    state = State()
    state.models[MODEL] = model_pb2.Model(name=MODEL, task=task)
    state.models[MODEL].dataset.files[split].CopyFrom(_store(state, data.name, data.read_bytes()))
    state.variants[MODEL] = []
    for name, arm in arms.items():
        evaluation = io.BytesIO()
        backwards = np.arange(ROWS)[::-1]
        np.savez(evaluation, rows=backwards, statistics=np.zeros((ROWS, 1)), prediction=arm.recorded[backwards])
        files = [
            _store(state, "model.onnx", name.encode()),
            _store(state, "manifest.json", manifest(name, arm, task).model_dump_json().encode()),
            _store(state, "evaluation.npz", evaluation.getvalue()),
        ]
        state.variants[MODEL].append(variant_pb2.Variant(name=name, model=MODEL, accepted=True, files=files))
    split_arms = [traffic_pb2.Arm(variant=name, weight=arm.weight) for name, arm in arms.items()]
    state.traffic[MODEL] = traffic_pb2.Traffic(model=MODEL, generation=3, applied_generation=3, arms=split_arms)
    return state


Serve = Callable[..., Running]


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """Starts servers: `serve({"r1.fp32": Arm(...)}, refused=frozenset(), task="classification", split="eval")`."""
    with ExitStack() as running:

        def start(
            arms: Mapping[str, Arm],
            refused: frozenset[int] = frozenset(),
            task: str = "classification",
            split: str = "eval",
        ) -> Running:
            data = tmp_path_factory.mktemp("data") / "eval.npz"
            x = np.zeros((ROWS, FEATURES), dtype=np.float32)
            x[:, 0] = np.arange(ROWS)
            np.savez(data, x=x, **({"labels": LABELS} if task == "classification" else {}))
            state = _state(arms, data, task, split)
            inference = Labelled(state, arms, refused)
            server = grpc.server(ThreadPoolExecutor(max_workers=8, thread_name_prefix="labelled"))
            add_ModelServiceServicer_to_server(Models(state), server)
            add_VariantServiceServicer_to_server(Variants(state), server)
            add_TrafficServiceServicer_to_server(Traffic(state), server)
            add_GRPCInferenceServiceServicer_to_server(inference, server)
            port = server.add_insecure_port("127.0.0.1:0")
            server.start()
            running.callback(lambda: server.stop(grace=None).wait())
            return Running(f"127.0.0.1:{port}", data, state, inference, arms)

        yield start


@pytest.fixture(scope="session")
def arm() -> Callable[..., Arm]:
    """An arm by its weight and how rarely it errs: `arm(50, every=20)`; `now=5` for what it says under load."""

    def make(weight: float, every: int = 20, now: int | None = None, parent: str | None = None) -> Arm:
        return Arm(weight, mistaken(every), None if now is None else mistaken(now), parent)

    return make
