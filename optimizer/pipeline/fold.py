"""Folds a recipe over a checkpoint: one pass after another, each kept under its cache key."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from optimizer.artifact.hardware import target_fingerprint
from optimizer.artifact.manifest import Hardware, StepRecord
from optimizer.artifact.session import usable_cores
from optimizer.errors import OptimizerError, UnsupportedModel
from optimizer.intake.stages import OnnxModel, TorchModel
from optimizer.passes import table
from optimizer.passes.context import Context, References
from optimizer.passes.table import Model
from optimizer.pipeline.inputs import Inputs, open_checkpoint, open_onnx, open_torch
from optimizer.pipeline.progress import Meter
from optimizer.pipeline.steps import StepStore, read_model, read_records
from optimizer.recipe.base import Stage
from optimizer.recipe.defaults import beginning, source_recipe
from optimizer.recipe.keys import KeyInputs, step_keys
from optimizer.recipe.recipe import Recipe
from optimizer.recipe.trial import Event, StepFinished, StepStarted, TrialSpec

Emit = Callable[[Event], None]


class StepFailed(Exception):
    """Names the pass in which an `OptimizerError` (the cause) was raised."""

    def __init__(self, step: str, cause: OptimizerError) -> None:
        super().__init__(f"{step}: {cause}")
        self.step = step
        self.cause = cause


@dataclass(frozen=True)
class Bench:
    """What every recipe that is folded over one checkpoint shares."""

    spec: TrialSpec
    inputs: Inputs
    hardware: Hardware
    store: StepStore
    emit: Emit
    clock: Callable[[], float] = time.monotonic

    def source(self) -> TorchModel:
        """The checkpoint as its owner trained it, opened anew. Raises UnsupportedModel for an ONNX checkpoint."""
        if self.inputs.stage is Stage.ONNX:
            raise UnsupportedModel(
                "an ONNX checkpoint has no network to change or to look into; push the Hugging Face directory instead"
            )
        return open_torch(self.inputs)

    def trained(self) -> TorchModel:
        """The network that recipes start from: the checkpoint's, with its head trained where it came without one."""
        recipe = source_recipe(self.inputs.checkpoint.inspection, self.spec.task)
        first = recipe.model_copy(update={"steps": beginning(recipe)})
        keys = step_keys(first, self.key_inputs)
        found = self.store.find(keys[-1]) if keys else None
        if found is None:
            return self.source()
        model = read_model(found, Stage.TORCH, self.source)
        assert isinstance(model, TorchModel)
        return model

    def graph(self) -> OnnxModel:
        """An ONNX checkpoint's graph."""
        return open_onnx(self.inputs, self.spec, self.spec.scratch / "checkpoint")

    @property
    def key_inputs(self) -> KeyInputs:
        """What the cache keys of steps depend on."""
        return KeyInputs(
            tenant=self.spec.tenant,
            checkpoint_digest=self.spec.checkpoint.digest,
            dataset_digest=self.spec.dataset.digest,
            seed=self.spec.seed,
            target=target_fingerprint(self.hardware, self.spec.session.target),
        )


def fold(recipe: Recipe, bench: Bench, meter: Meter) -> tuple[Model, tuple[StepRecord, ...]]:
    """Applies the recipe's passes; returns the last model and the record of every step.

    Steps that the store knows are not run again. Raises StepFailed when a pass gives up.
    """
    steps = recipe.steps
    keys = step_keys(recipe, bench.key_inputs)
    store = bench.store
    done, found = _latest(store, keys)
    records = () if found is None else read_records(found)
    for index in range(done):
        bench.emit(StepStarted(step=steps[index].use, index=index, of=len(steps), cached=True))
        if store.is_ours(keys[index]):
            bench.emit(StepFinished(step=steps[index].use, key=keys[index], seconds=records[index].seconds))
    if found is None:
        model = open_checkpoint(bench.inputs, bench.spec, bench.spec.scratch / "checkpoint")
    else:
        model = read_model(found, steps[done - 1].produces, bench.source)
    for index in range(done, len(steps)):
        config = steps[index]
        bench.emit(StepStarted(step=config.use, index=index, of=len(steps)))
        began = bench.clock()
        context = context_of(bench, store.begin(keys[index]), partial(meter.report, index), keys[index])
        try:
            model = table.run(config, model, context)
        except OptimizerError as error:
            raise StepFailed(config.use, error) from error
        record = StepRecord(
            name=config.use,
            version=config.version,
            config=config.model_dump(mode="json"),
            cache_key=keys[index],
            seconds=round(bench.clock() - began, 3),
            notes=tuple(context.notes),
            tables=tuple(context.tables),
        )
        records = (*records, record)
        model = store.finish(keys[index], model, records, bench.source)
        meter.report(index, 1.0)
        bench.emit(StepFinished(step=config.use, key=keys[index], seconds=record.seconds))
    return model, records


def context_of(bench: Bench, directory: Path, report: Callable[..., None], key: str) -> Context:
    """What a pass is given; `key` names its place to resume from."""
    spec, inputs = bench.spec, bench.inputs

    return Context(
        task=spec.task,
        splits=inputs.for_passes(),
        references=References(bench.trained, bench.graph if inputs.stage is Stage.ONNX else None),
        hardware=bench.hardware,
        session=spec.session,
        seed=spec.seed,
        threads=spec.session.intra_op_threads if spec.session.target == "cpu" else usable_cores(),
        directory=directory,
        report=report,
        resume=_resume_directory(spec.resume or spec.scratch / "resume", key),
    )


def _latest(store: StepStore, keys: list[str]) -> tuple[int, Path | None]:
    """How many steps are done, and where the last of them lies."""
    for count in range(len(keys), 0, -1):
        found = store.find(keys[count - 1])
        if found is not None:
            return count, found
    return 0, None


def _resume_directory(root: Path, key: str) -> Path:
    directory = root / key
    directory.mkdir(parents=True, exist_ok=True)
    return directory
