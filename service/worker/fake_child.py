"""`python -m service.worker.fake_child SPEC`: an optimizer's child that makes real, tiny results without optimizing.

For tests of everything around the optimizer. It keeps the contract of optimizer.recipe.trial: one cached step a pass,
events, and a result whose manifest is true. A file `script.json` in the checkpoint may say otherwise, by recipe:
{"step_seconds": 0.1, "fail": {"int8": {"kind": "pass_failed", "message": "no parity"}}}.
"""

import json
import sys
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from optimizer.artifact import golden
from optimizer.artifact.digest import of_file, of_json
from optimizer.artifact.hardware import fingerprint, target_fingerprint
from optimizer.artifact.manifest import (
    EVALUATION_FILE,
    GOLDEN_FILE,
    MANIFEST_FILE,
    MODEL_FILE,
    Against,
    BatchLatency,
    Estimate,
    Lineage,
    Manifest,
    Measurement,
    Percentiles,
    StepRecord,
    Verdict,
)  # fmt: skip
from optimizer.artifact.signature import BATCH, Signature, TensorSpec
from optimizer.recipe.keys import KeyInputs, step_keys
from optimizer.recipe.trial import Event, Failed, Finished, Progress, StepFinished, StepStarted, TrialSpec

_FEATURES = 4
_ROWS = 20


def run(spec: TrialSpec, say: Callable[[Event], None]) -> None:
    """Runs the trial; its last event is Finished or Failed."""
    script_file = spec.checkpoint.directory / "script.json"
    script: dict[str, Any] = json.loads(script_file.read_text()) if script_file.exists() else {}
    keys = step_keys(spec.recipe, key_inputs(spec))
    for index, (step, key) in enumerate(zip(spec.recipe.steps, keys, strict=True)):
        _run_step(spec, step.use, key, index, script.get("step_seconds", 0.0), say)
    if failure := script.get("fail", {}).get(spec.recipe.name):
        say(Failed(kind=failure["kind"], message=failure["message"]))
    else:
        say(Finished(manifest=_write_result(spec, keys)))


def _run_step(spec: TrialSpec, step: str, key: str, index: int, seconds: float, say: Callable[[Event], None]) -> None:
    of = len(spec.recipe.steps)
    say(StepStarted(step=step, index=index, of=of, cached=key in spec.cache))
    if key not in spec.cache:
        threading.Event().wait(seconds)
        directory = spec.scratch / "steps" / key
        directory.mkdir(parents=True)
        (directory / "output.bin").write_bytes(key.encode())
    say(Progress(step=step, percent=100 * (index + 1) / (of + 1), loss=1 / (index + 1)))
    if key not in spec.cache:
        say(StepFinished(step=step, key=key, seconds=seconds))


def _write_result(spec: TrialSpec, keys: list[str]) -> Manifest:
    directory = spec.scratch / "result"
    directory.mkdir()
    model = directory / MODEL_FILE
    onnx.save(_model(spec.recipe.digest), str(model))
    rows = np.arange(_ROWS * _FEATURES, dtype=np.float32).reshape(_ROWS, _FEATURES)
    golden.write(directory / GOLDEN_FILE, {"features": rows[:2]}, {"scores": rows[:2] * 2})
    answers: Mapping[str, Any] = {
        "rows": np.arange(_ROWS),
        "statistics": np.ones((_ROWS, 1)),
        "prediction": np.zeros(_ROWS),
    }
    with (directory / EVALUATION_FILE).open("wb") as stream:
        np.savez(stream, allow_pickle=False, **answers)
    manifest = _manifest(spec, keys, of_file(model), model.stat().st_size)
    (directory / MANIFEST_FILE).write_text(manifest.model_dump_json())
    return manifest


def _model(name: str) -> onnx.ModelProto:
    graph = helper.make_graph(
        [helper.make_node("Add", ["features", "features"], ["scores"])],
        f"fake-{name}",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [BATCH, _FEATURES])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [BATCH, _FEATURES])],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def _manifest(spec: TrialSpec, keys: list[str], digest: str, size_bytes: int) -> Manifest:
    metric = Estimate(name="accuracy", value=1.0, low=0.84, high=1.0, n=_ROWS)
    same = Estimate(name="accuracy difference", value=0.0, low=-0.16, high=0.16, n=_ROWS)
    measurement = Measurement(
        dataset_digest=spec.dataset.digest,
        rows_digest=of_json(list(range(_ROWS))),
        hardware=fingerprint(),
        session=spec.session,
        metric=metric,
        against=None if spec.baseline is None else Against(name=spec.baseline.name, metric=metric, difference=same),
        latencies=(BatchLatency(batch=1, latency=Percentiles(p50_ms=1.0, p95_ms=1.0, p99_ms=1.0, n=1)),),
        peak_memory_bytes=1,
        size_bytes=size_bytes,
    )
    return Manifest(
        name=spec.variant,
        task=spec.task,
        created_at=datetime.now(UTC),
        digest=digest,
        size_bytes=size_bytes,
        signature=Signature(
            inputs=(TensorSpec(name="features", datatype="FP32", shape=(BATCH, _FEATURES)),),
            outputs=(TensorSpec(name="scores", datatype="FP32", shape=(BATCH, _FEATURES)),),
        ),
        target=spec.session.target,
        lineage=Lineage(
            tenant=spec.tenant,
            model=spec.model,
            checkpoint=spec.checkpoint.revision,
            checkpoint_digest=spec.checkpoint.digest,
            parent=None if spec.source is None else spec.source.name,
            recipe=spec.recipe.name,
            recipe_digest=spec.recipe.digest,
            steps=tuple(
                StepRecord(
                    name=step.use, version=step.version, config=step.model_dump(mode="json"), cache_key=key, seconds=0
                )
                for step, key in zip(spec.recipe.steps, keys, strict=True)
            ),
            seed=spec.seed,
            dataset_digest=spec.dataset.digest,
            splits={},
            tools={},
        ),
        measurements=(measurement,),
        verdict=Verdict.SOURCE if spec.source is None else Verdict.INCONCLUSIVE,
        reason="" if spec.source is None else "nothing was optimized",
    )


def key_inputs(spec: TrialSpec) -> KeyInputs:
    """What the trial's cache keys depend on."""
    return KeyInputs(
        tenant=spec.tenant,
        checkpoint_digest=spec.checkpoint.digest,
        dataset_digest=spec.dataset.digest,
        seed=spec.seed,
        target=target_fingerprint(fingerprint(), spec.session.target),
    )


def _main(spec_file: Path) -> int:
    status = 0

    def say(event: Event) -> None:
        nonlocal status
        status = 3 if isinstance(event, Failed) else 0
        sys.stdout.write(event.model_dump_json() + "\n")
        sys.stdout.flush()

    run(TrialSpec.model_validate_json(spec_file.read_text()), say)
    return status


if __name__ == "__main__":
    sys.exit(_main(Path(sys.argv[1])))
