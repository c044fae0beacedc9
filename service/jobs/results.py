"""What came of a job's trials, as the planner of an automatic job reads it."""

from typing import Any

from optimizer.artifact.manifest import Manifest, Verdict
from optimizer.artifact.task import LOWER_IS_BETTER
from optimizer.recipe.auto import Result
from optimizer.recipe.recipe import Recipe
from service.registry import tables


def results_of(job: tables.Job) -> list[Result]:
    """One result a trial, in their order. The row's session must be open."""
    return [_result(Recipe.model_validate(trial.recipe), trial.variant) for trial in job.trials]


def _result(recipe: Recipe, variant: tables.Variant | None) -> Result:
    if variant is None:
        return Result(recipe, None)
    manifest = Manifest.model_validate(variant.manifest)
    seconds = sum(step.seconds for step in manifest.lineage.steps)
    if not manifest.measurements:
        return Result(recipe, Verdict(manifest.verdict), seconds=seconds)
    measurement = manifest.measurements[-1]
    first = measurement.latencies[0].speedup if measurement.latencies else None
    return Result(
        recipe,
        Verdict(manifest.verdict),
        loss=_loss(measurement),
        speedup=None if first is None else first.value,
        seconds=seconds,
    )


def _loss(measurement: Any) -> float | None:
    """How much worse than the source, as the margin counts: points, or a share where the metric has no upper end."""
    if measurement.difference is None or measurement.source_metric is None:
        return None
    if measurement.metric.name in LOWER_IS_BETTER:
        return float(measurement.difference.value / max(abs(measurement.source_metric.value), 1e-12))
    return float(-measurement.difference.value)
