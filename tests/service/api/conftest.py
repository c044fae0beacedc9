"""A whole control process in this one: real registry, store and gRPC over its Unix socket, beside a fake engine."""

import hashlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from optimizer.artifact.manifest import Verdict
from optimizer.artifact.store import DirectoryStore
from service.control import Control
from service.fleet.fake import FakeEngine
from service.home import Home
from service.registry import tables
from service.registry.database import close, open_registry
from service.settings import ControlSettings
from service.uploads.fake import FakeInspector
from service.uploads.inspection import Inspector
from service.wire.stillroom.v1 import model_service_pb2 as model_wire
from service.wire.stillroom.v1 import model_service_pb2_grpc as model_grpc
from service.wire.stillroom.v1 import upload_service_pb2 as upload_wire
from service.wire.stillroom.v1 import upload_service_pb2_grpc as upload_grpc

NOW = datetime(2026, 1, 2, tzinfo=UTC)


@pytest.fixture
def settings(home: Home) -> ControlSettings:
    return ControlSettings(home=home.root, http_port=0, metrics_port=0, max_upload_bytes=64 << 20)


@pytest.fixture
def inspector() -> Inspector:
    """The tests of pushes that are refused take the real one instead."""
    return FakeInspector()


@pytest.fixture
def control(settings: ControlSettings, inspector: Inspector) -> Iterator[Control]:
    control = Control(settings, inspector)
    control.start()
    yield control
    control.stop()


@pytest.fixture
def channel(control: Control, home: Home) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(f"unix:{home.control_socket}") as channel:
        yield channel


@pytest.fixture
def engine(home: Home) -> Iterator[FakeEngine]:
    """Started by the test when it likes; stopped here."""
    engine = FakeEngine(home.engine_socket(0), "first run")
    yield engine
    engine.stop()


@pytest.fixture
def upload(channel: grpc.Channel) -> Callable[[bytes, str], model_wire.File]:
    """Uploads bytes and returns what a push says of them under the given name."""
    stub = upload_grpc.UploadServiceStub(channel)

    def upload(data: bytes, path: str) -> model_wire.File:
        sha256 = hashlib.sha256(data).hexdigest()
        begun = stub.CreateUpload(upload_wire.CreateUploadRequest(sha256=sha256, size_bytes=len(data))).upload
        if not begun.complete:
            chunk = upload_wire.WriteUploadRequest(upload_id=begun.upload_id, offset=begun.received_bytes, data=data)
            assert stub.WriteUpload(iter([chunk])).upload.complete
        return model_wire.File(path=path, sha256=sha256, size_bytes=len(data))

    return upload


@pytest.fixture
def linear_model() -> Callable[..., bytes]:
    """Makes an ONNX classifier of 4 numbers."""
    return _linear_model


@pytest.fixture
def rows(tmp_path: Path) -> Callable[..., bytes]:
    """Makes a data set as the bytes of a .npz file."""

    def rows(labels: list[int] | None = None, width: int = 4, count: int = 30, name: str = "x") -> bytes:
        arrays: dict[str, Any] = {name: np.arange(count * width, dtype=np.float32).reshape(count, width)}
        arrays["labels"] = np.array(labels if labels is not None else [row % 3 for row in range(count)])
        path = tmp_path / "rows.npz"
        np.savez(path, **arrays)
        return path.read_bytes()

    return rows


def _linear_model(classes: int = 3, weight: float = 1.0, name: str = "x") -> bytes:
    weights = helper.make_tensor("w", TensorProto.FLOAT, [4, classes], [weight] * 4 * classes)
    graph = helper.make_graph(
        [helper.make_node("MatMul", [name, "w"], ["y"])],
        "linear",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", classes])],
        [weights],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    data: bytes = model.SerializeToString()
    onnx.checker.check_model(model)
    return data


@pytest.fixture
def push(channel: grpc.Channel, upload: Callable[[bytes, str], model_wire.File]) -> Callable[..., Any]:
    """Uploads an ONNX file, and a .npz file if there is one, and registers them."""

    def push(name: str, model: bytes, data: bytes | None = None, task: str = "") -> model_wire.CreateCheckpointResponse:
        request = model_wire.CreateCheckpointRequest(model=name, files=[upload(model, "model.onnx")], task=task)
        if data is not None:
            request.dataset_files["all"].CopyFrom(upload(data, "rows.npz"))
        response: model_wire.CreateCheckpointResponse = model_grpc.ModelServiceStub(channel).CreateCheckpoint(request)
        return response

    return push


Publish = Callable[..., None]


@pytest.fixture
def publish(home: Home, tmp_path: Path) -> Iterator[Publish]:
    """Publishes a variant of a pushed model's newest checkpoint, as a worker would from its own process."""
    sessions = open_registry(home.registry_url)
    store = DirectoryStore(home.blobs)

    def stored(data: bytes, path: str) -> dict[str, Any]:
        temporary = tmp_path / "blob"
        temporary.write_bytes(data)
        sha256 = hashlib.sha256(data).hexdigest()
        store.put(temporary, sha256)
        return {"path": path, "sha256": sha256, "size_bytes": len(data)}

    def publish(model: str, name: str, verdict: Verdict, weights: bytes = b"onnx") -> None:
        files = [stored(weights, "model.onnx"), stored(b"golden", "golden.npz"), stored(b"{}", "manifest.json")]
        with sessions.begin() as session:
            owner = session.query(tables.Model).filter_by(name=model).one()
            checkpoint = owner.checkpoints[-1]
            if owner.dataset_id is None:
                owner.dataset = tables.Dataset(tenant="default", digest="d" * 64, files={}, created_at=NOW)
                session.flush()
            job = tables.Job(
                id=hashlib.sha256(f"{model}/{name}".encode()).hexdigest()[:16],
                tenant="default",
                request_id=f"{model}/{name}",
                model_id=owner.id,
                checkpoint_id=checkpoint.id,
                dataset_id=owner.dataset_id,
                state="succeeded",
                request={},
                created_at=NOW,
            )
            manifest = manifest_json(model, checkpoint.name, name, verdict, files[0]["sha256"])
            owner.signature = manifest["signature"]
            session.add(job)
            session.flush()
            session.add(
                tables.Variant(
                    tenant="default",
                    model_id=owner.id,
                    checkpoint_id=checkpoint.id,
                    job_id=job.id,
                    name=name,
                    digest=files[0]["sha256"],
                    accepted=verdict in (Verdict.SOURCE, Verdict.ACCEPT),
                    verdict=verdict,
                    files=files,
                    manifest=manifest,
                    created_at=NOW,
                )
            )

    yield publish
    close(sessions)


def manifest_json(model: str, checkpoint: str, name: str, verdict: Verdict, digest: str) -> dict[str, Any]:
    """A manifest with one measurement, as the registry keeps it."""
    estimate = {"name": "accuracy", "value": 0.9, "low": 0.85, "high": 0.95, "n": 200}
    speedup = {"name": "speedup", "value": 3.5, "low": 3.1, "high": 3.9, "n": 20}
    is_source = verdict is Verdict.SOURCE
    return {
        "schema_version": 1,
        "name": name,
        "task": "classification",
        "created_at": NOW.isoformat(),
        "digest": digest,
        "size_bytes": 4,
        "signature": {
            "inputs": [{"name": "x", "datatype": "FP32", "shape": ["batch", 4]}],
            "outputs": [{"name": "y", "datatype": "FP32", "shape": ["batch", 3]}],
            "limits": {},
        },
        "target": "cpu",
        "lineage": {
            "tenant": "default",
            "model": model,
            "checkpoint": checkpoint,
            "checkpoint_digest": "c" * 64,
            "parent": None if is_source else f"{checkpoint}.fp32",
            "recipe": name.split(".", 1)[1],
            "recipe_digest": "e" * 64,
            "steps": [],
            "seed": 0,
            "dataset_digest": "d" * 64,
            "splits": {},
            "tools": {},
        },
        "measurements": [
            {
                "split": "evaluation",
                "dataset_digest": "d" * 64,
                "rows_digest": "f" * 64,
                "hardware": {"cpu": "some", "cores": 2, "isa": ["avx2"], "gpu": None, "onnxruntime": "1.31"},
                "session": {"target": "cpu", "intra_op_threads": 1, "allow_spinning": False, "device_id": 0},
                "metric": estimate,
                "source_metric": None if is_source else estimate,
                "difference": None if is_source else {**estimate, "name": "difference", "value": 0.0},
                "agreement": None,
                "latencies": [
                    {
                        "batch": 1,
                        "latency": {"p50_ms": 1.0, "p95_ms": 1.5, "p99_ms": 2.0, "n": 100},
                        "speedup": None if is_source else speedup,
                    }
                ],
                "peak_memory_bytes": 1000,
                "size_bytes": 4,
            }
        ],
        "verdict": verdict.value,
        "reason": "the accuracy falls by 3 points" if verdict is Verdict.REJECT else "",
        "rows_needed": None,
        "class_names": [],
    }
