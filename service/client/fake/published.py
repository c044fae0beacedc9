"""The variants that a fake optimization publishes: a source, an accepted, a rejected and an undecided one."""

import hashlib
import json

from service.client.fake.state import State
from service.wire.stillroom.v1 import model_service_pb2 as model_pb2
from service.wire.stillroom.v1 import traffic_service_pb2 as traffic_pb2
from service.wire.stillroom.v1 import variant_service_pb2 as pb2

_ROWS = 1000
_REJECTED = "accuracy falls by 0.0310 (95% upper bound 0.0420), more than the allowed 0.0100"
_UNDECIDED = "1000 evaluation rows cannot decide at a margin of 0.0100; about 2600 would"


def publish(state: State, model: str, checkpoint: str) -> list[pb2.Variant]:
    """Adds the four variants of a checkpoint and, for a model without a split, sends all traffic to the source."""
    source = _variant(state, model, f"{checkpoint}.fp32", "fp32", 0.959, 4.0, 44_700_000, pb2.VERDICT_SOURCE, "")
    made = [
        source,
        _variant(state, model, f"{checkpoint}.int8", "int8", 0.957, 1.1, 11_300_000, pb2.VERDICT_ACCEPT, ""),
        _variant(state, model, f"{checkpoint}.pruned", "pruned", 0.928, 0.9, 8_100_000, pb2.VERDICT_REJECT, _REJECTED),
        _variant(
            state, model, f"{checkpoint}.half", "half", 0.951, 2.2, 22_400_000, pb2.VERDICT_INCONCLUSIVE, _UNDECIDED
        ),
    ]
    for variant in made[1:]:
        variant.parent = source.name
        variant.source_metric.CopyFrom(source.metric)
        change = variant.metric.value - source.metric.value
        variant.difference.CopyFrom(
            pb2.Metric(name="accuracy", value=change, low=change - 0.008, high=change + 0.008, n=_ROWS)
        )
        for latency, reference in zip(variant.latencies, source.latencies, strict=True):
            latency.speedup = reference.p50_ms / latency.p50_ms
            latency.speedup_low, latency.speedup_high = latency.speedup * 0.97, latency.speedup * 1.03
    state.variants.setdefault(model, []).extend(made)
    if model not in state.traffic:
        source.traffic = 1.0
        arms = [traffic_pb2.Arm(variant=source.name, weight=100)]
        state.traffic[model] = traffic_pb2.Traffic(model=model, generation=1, applied_generation=1, arms=arms)
    return made


def _variant(
    state: State,
    model: str,
    name: str,
    recipe: str,
    accuracy: float,
    p50_ms: float,
    size_bytes: int,
    verdict: "pb2.Verdict",
    reason: str,
) -> pb2.Variant:
    accepted = verdict in (pb2.VERDICT_SOURCE, pb2.VERDICT_ACCEPT)
    content = {
        "model.onnx": f"onnx of {model} {name}".encode() * 1000,
        "manifest.json": json.dumps(_manifest(model, name, recipe)).encode(),
    }
    files = []
    for path, data in content.items():
        sha256 = hashlib.sha256(data).hexdigest()
        state.files[sha256] = data
        files.append(model_pb2.File(path=path, sha256=sha256, size_bytes=len(data)))
    return pb2.Variant(
        name=name,
        model=model,
        checkpoint=name.split(".")[0],
        state=pb2.VARIANT_STATE_READY if accepted else pb2.VARIANT_STATE_STORED,
        accepted=accepted,
        verdict=verdict,
        reason=reason,
        metric=pb2.Metric(name="accuracy", value=accuracy, low=accuracy - 0.013, high=accuracy + 0.012, n=_ROWS),
        latencies=[
            pb2.Latency(batch=batch, p50_ms=p50_ms * scale, p95_ms=p50_ms * scale * 1.2, p99_ms=p50_ms * scale * 1.5)
            for batch, scale in ((1, 1.0), (8, 5.0), (32, 18.0))
        ],
        size_bytes=size_bytes,
        peak_memory_bytes=3 * size_bytes,
        recipe=recipe,
        digest=files[0].sha256,
        files=files,
        target="cpu",
    )


def _manifest(model: str, name: str, recipe: str) -> dict[str, object]:
    """The parts of a manifest that readers show."""
    steps = [{"name": "export", "version": 1, "config": {"use": "export"}, "seconds": 3.5, "notes": ["opset 20"]}]
    if recipe != "fp32":
        steps.append({"name": recipe, "version": 1, "config": {"use": recipe}, "seconds": 1.25, "notes": []})
    hardware = {"cpu": "Example CPU", "cores": 2, "isa": ["avx2"], "gpu": None, "onnxruntime": "1.31.1"}
    session = {"target": "cpu", "intra_op_threads": 2, "allow_spinning": False, "device_id": 0}
    return {
        "schema_version": 1,
        "name": name,
        "lineage": {"model": model, "recipe": recipe, "seed": 0, "steps": steps, "tools": {"onnxruntime": "1.31.1"}},
        "measurements": [{"hardware": hardware, "session": session, "dataset_digest": "d" * 64}],
    }
