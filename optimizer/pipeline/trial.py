"""Runs one trial: recipe over checkpoint, measurement, gate, and the result in its directory."""

import time
from collections.abc import Callable
from datetime import datetime

from optimizer.artifact.hardware import fingerprint
from optimizer.artifact.manifest import Manifest
from optimizer.errors import InvalidRecipe, OptimizerError
from optimizer.intake.stages import OnnxModel
from optimizer.measure import lease
from optimizer.pipeline.fold import Bench, Emit, StepFailed, fold
from optimizer.pipeline.inputs import read_inputs
from optimizer.pipeline.progress import Meter
from optimizer.pipeline.result import write_result
from optimizer.pipeline.steps import StepStore
from optimizer.recipe.recipe import check_order
from optimizer.recipe.trial import TrialSpec


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
    bench = Bench(spec, inputs, hardware, StepStore(spec.scratch / "steps", spec.cache), emit, clock)
    with lease.held(spec.lease, exclusive=False):
        model, records = fold(recipe, bench, meter)
    if not isinstance(model, OnnxModel):
        raise InvalidRecipe(f"recipe {recipe.name!r} never exports: add an `export` step")
    try:
        return write_result(spec, inputs, model, records, hardware, meter, now())
    except OptimizerError as error:
        raise StepFailed("measure", error) from error
