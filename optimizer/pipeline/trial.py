"""Runs one trial: recipe over checkpoint, measurement, gate, and the result in its directory."""

import time
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path

from optimizer.artifact.hardware import fingerprint, target_fingerprint
from optimizer.artifact.manifest import Hardware, Manifest, StepRecord
from optimizer.artifact.session import usable_cores
from optimizer.errors import InvalidRecipe, OptimizerError, UnsupportedModel
from optimizer.intake.stages import OnnxModel, TorchModel
from optimizer.measure import lease
from optimizer.passes import table
from optimizer.passes.context import Context, References
from optimizer.passes.table import Model
from optimizer.pipeline.inputs import Inputs, open_checkpoint, open_torch, read_inputs
from optimizer.pipeline.progress import Meter
from optimizer.pipeline.result import write_result
from optimizer.pipeline.steps import StepStore, read_model, read_records
from optimizer.recipe.base import Stage
from optimizer.recipe.keys import KeyInputs, step_keys
from optimizer.recipe.recipe import check_order
from optimizer.recipe.trial import Event, StepFinished, StepStarted, TrialSpec

Emit = Callable[[Event], None]


class StepFailed(Exception):
    """Names the pass in which an `OptimizerError` (the cause) was raised."""

    def __init__(self, step: str, cause: OptimizerError) -> None:
        super().__init__(f"{step}: {cause}")
        self.step = step
        self.cause = cause


def run(
    spec: TrialSpec, emit: Emit, now: Callable[[], datetime], clock: Callable[[], float] = time.monotonic
) -> Manifest:
    """Runs the trial and leaves its result in spec.scratch/result.

    Steps that `spec.cache` holds, or that an earlier process finished in the same scratch directory, are not run again.
    Raises OptimizerError for bad inputs, StepFailed when a pass or the measurement gives up.
    """
    hardware = fingerprint()
    recipe = spec.recipe
    inputs = read_inputs(spec)
    check_order(recipe, inputs.stage)
    meter = Meter([step.use for step in recipe.steps], emit, clock)
    with lease.held(spec.lease, exclusive=False):
        model, records = _fold(spec, inputs, hardware, meter, emit, clock)
    if not isinstance(model, OnnxModel):
        raise InvalidRecipe(f"recipe {recipe.name!r} never exports: add an `export` step")
    try:
        return write_result(spec, inputs, model, records, hardware, meter, now())
    except OptimizerError as error:
        raise StepFailed("measure", error) from error


def _fold(
    spec: TrialSpec, inputs: Inputs, hardware: Hardware, meter: Meter, emit: Emit, clock: Callable[[], float]
) -> tuple[Model, tuple[StepRecord, ...]]:
    """Applies the recipe's passes; returns the last model and the record of every step."""
    recipe = spec.recipe
    steps = recipe.steps
    keys = step_keys(recipe, key_inputs(spec, hardware))
    store = StepStore(spec.scratch / "steps", spec.cache)
    done, found = _latest(store, keys)
    records = () if found is None else read_records(found)
    for index in range(done):
        emit(StepStarted(step=steps[index].use, index=index, of=len(steps), cached=True))
        if store.is_ours(keys[index]):
            emit(StepFinished(step=steps[index].use, key=keys[index], seconds=records[index].seconds))
    if found is None:
        model = open_checkpoint(inputs, spec, spec.scratch / "checkpoint")
    else:
        model = read_model(found, steps[done - 1].produces)
    for index in range(done, len(steps)):
        config = steps[index]
        emit(StepStarted(step=config.use, index=index, of=len(steps)))
        began = clock()
        context = _context(spec, inputs, hardware, store.begin(keys[index]), partial(meter.report, index), keys[index])
        try:
            model = table.run(config, model, context)
        except OptimizerError as error:
            raise StepFailed(config.use, error) from error
        record = StepRecord(
            name=config.use,
            version=config.version,
            config=config.model_dump(mode="json"),
            cache_key=keys[index],
            seconds=round(clock() - began, 3),
            notes=tuple(context.notes),
            tables=tuple(context.tables),
        )
        records = (*records, record)
        model = store.finish(keys[index], model, records)
        meter.report(index, 1.0)
        emit(StepFinished(step=config.use, key=keys[index], seconds=record.seconds))
    return model, records


def key_inputs(spec: TrialSpec, hardware: Hardware) -> KeyInputs:
    """What the cache keys of this trial's steps depend on."""
    return KeyInputs(
        tenant=spec.tenant,
        checkpoint_digest=spec.checkpoint.digest,
        dataset_digest=spec.dataset.digest,
        seed=spec.seed,
        target=target_fingerprint(hardware, spec.session.target),
    )


def _latest(store: StepStore, keys: list[str]) -> tuple[int, Path | None]:
    """How many steps are done, and where the last of them lies."""
    for count in range(len(keys), 0, -1):
        found = store.find(keys[count - 1])
        if found is not None:
            return count, found
    return 0, None


def _context(
    spec: TrialSpec, inputs: Inputs, hardware: Hardware, directory: Path, report: Callable[..., None], key: str
) -> Context:
    def source() -> TorchModel:
        if inputs.stage is Stage.ONNX:
            raise UnsupportedModel("an ONNX checkpoint cannot teach; push the Hugging Face directory instead")
        return open_torch(inputs)

    return Context(
        task=spec.task,
        splits=inputs.for_passes(),
        references=References(source),
        hardware=hardware,
        session=spec.session,
        seed=spec.seed,
        threads=spec.session.intra_op_threads if spec.session.target == "cpu" else usable_cores(),
        directory=directory,
        report=report,
        resume=_resume_directory(spec.resume or spec.scratch / "resume", key),
    )


def _resume_directory(root: Path, key: str) -> Path:
    directory = root / key
    directory.mkdir(parents=True, exist_ok=True)
    return directory
