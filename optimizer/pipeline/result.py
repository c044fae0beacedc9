"""What a trial leaves: the model, its golden answers, its answers on the evaluation rows, and the manifest."""

import shutil
from datetime import datetime
from pathlib import Path

import numpy as np
import onnx

from optimizer.artifact import golden
from optimizer.artifact.digest import of_file
from optimizer.artifact.manifest import (
    EVALUATION_FILE,
    GOLDEN_FILE,
    MANIFEST_FILE,
    MODEL_FILE,
    TRAINING_FILE,
    FileFigures,
    Hardware,
    Lineage,
    Manifest,
    Measurement,
    StepRecord,
    Verdict,
)
from optimizer.artifact.rows import feeds
from optimizer.artifact.session import build, ort_errors
from optimizer.errors import PassFailed
from optimizer.intake.onnx_file import clean, first_line, read
from optimizer.intake.stages import OnnxModel
from optimizer.measure.flops import flops
from optimizer.measure.measure import Source, measure, source_of
from optimizer.measure.revisions import compare_revisions
from optimizer.measure.weights import weights_of
from optimizer.metrics.gate import decide, gain_of, not_measured
from optimizer.pipeline.inputs import Inputs
from optimizer.pipeline.progress import Meter
from optimizer.pipeline.steps import StepStore
from optimizer.recipe.defaults import made_for
from optimizer.recipe.keys import installed_version
from optimizer.recipe.trial import TrialSpec

_GOLDEN_ROWS = 8
# Libraries that decide what a variant is, beside those that its passes name.
_TOOLS = ("stillroom", "numpy", "onnx", "onnxruntime")


def write_result(
    spec: TrialSpec,
    inputs: Inputs,
    model: OnnxModel,
    records: tuple[StepRecord, ...],
    hardware: Hardware,
    meter: Meter,
    created_at: datetime,
) -> Manifest:
    """Measures and judges `model`; writes spec.scratch/result, the manifest last.

    A model made for a device that this host lacks is not measured and has no evaluation.npz; one that was not trained
    here has no training.tfevents.
    """
    directory = spec.scratch / "result"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    path = directory / MODEL_FILE
    _stamp(model.path, path, spec)
    _write_golden(path, inputs, model, spec, directory)
    _join_curves(records, StepStore(spec.scratch / "steps", spec.cache), directory / TRAINING_FILE)
    target = made_for(spec.recipe, spec.session.target)
    measurements: tuple[Measurement, ...] = ()
    rows_needed = None
    if target != spec.session.target:
        decision = not_measured(target, spec.session.target)
        verdict, reason = decision.verdict, decision.reason
    else:
        source = _source(spec, inputs, hardware)
        measured = measure(
            path,
            signature=model.signature,
            rows=inputs.evaluation,
            part=inputs.splits.evaluation,
            task=spec.task,
            session=spec.session,
            dataset_digest=spec.dataset.digest,
            source=source,
            scratch=spec.scratch,
            lease_file=spec.lease,
            hardware=hardware,
            compare_memory=spec.objective.prefer == "memory",
            report=lambda message, share: meter.report(len(spec.recipe.steps), share, message=message),
        )
        measured.evaluation.save(directory / EVALUATION_FILE)
        against = compare_revisions(
            spec.baseline, measured.evaluation, inputs.evaluation, inputs.splits.evaluation.digest, spec.task
        )
        measurements = (measured.measurement.model_copy(update={"against": against}),)
        if measured.paired is None:
            verdict, reason = Verdict.SOURCE, "The checkpoint as its owner trained it; all others are compared with it."
        else:
            assert source is not None
            gain = gain_of(measured.measurement, source.model.stat().st_size, measured.source_peak_memory_bytes)
            judged = decide(measured.paired, gain, spec.objective)
            verdict, reason, rows_needed = judged.verdict, judged.reason, judged.rows_needed
    manifest = Manifest(
        name=spec.variant,
        task=spec.task,
        created_at=created_at,
        digest=of_file(path),
        size_bytes=path.stat().st_size,
        signature=model.signature,
        target=target,
        lineage=_lineage(spec, inputs, records),
        measurements=measurements,
        verdict=verdict,
        reason=reason,
        rows_needed=rows_needed,
        file=_file_figures(path, inputs, model, spec),
        class_names=inputs.checkpoint.inspection.class_names,
    )
    (directory / MANIFEST_FILE).write_text(manifest.model_dump_json(indent=1))
    return manifest


def _source(spec: TrialSpec, inputs: Inputs, hardware: Hardware) -> Source | None:
    if spec.source is None:
        return None
    manifest = Manifest.model_validate_json(spec.source.manifest.read_bytes())
    return source_of(
        spec.source.model,
        manifest,
        spec.source.evaluation,
        spec.dataset.digest,
        inputs.splits.evaluation,
        hardware,
        spec.session,
    )


def _stamp(model: Path, path: Path, spec: TrialSpec) -> None:
    """Copies the model and writes into it what it was made of; nothing of this host."""
    proto = read(model)
    clean(proto)
    onnx.helper.set_model_props(
        proto, {"stillroom.checkpoint": spec.checkpoint.digest, "stillroom.recipe": spec.recipe.digest}
    )
    path.write_bytes(proto.SerializeToString(deterministic=True))


def _file_figures(path: Path, inputs: Inputs, model: OnnxModel, spec: TrialSpec) -> FileFigures:
    proto = read(path)
    weights = weights_of(proto)
    part = inputs.splits.calibration
    row = feeds(inputs.files[part.file], model.signature.inputs, part.indices[:1])
    return FileFigures(
        parameters=weights.parameters,
        zero_share=weights.zero_share,
        compressed_bytes=weights.compressed_bytes,
        flops=flops(proto, row, spec.session),
    )


def _write_golden(path: Path, inputs: Inputs, model: OnnxModel, spec: TrialSpec, directory: Path) -> None:
    part = inputs.splits.calibration
    count = min(_GOLDEN_ROWS, len(part.indices)) if model.signature.batched else 1
    arrays = feeds(inputs.files[part.file], model.signature.inputs, part.indices[:count])
    names = [output.name for output in model.signature.outputs]
    try:
        answers = build(path, spec.session).run(names, arrays)
    except ort_errors() as error:
        raise PassFailed(f"the model does not run: {first_line(error)}") from error
    golden.write(directory / GOLDEN_FILE, arrays, dict(zip(names, map(np.asarray, answers), strict=True)))


def _join_curves(records: tuple[StepRecord, ...], store: StepStore, path: Path) -> None:
    """Writes the curves of all steps, of earlier trials too, as one file; none when nothing was trained."""
    found = [store.find(record.cache_key) for record in records]
    files = [step / TRAINING_FILE for step in found if step is not None and (step / TRAINING_FILE).is_file()]
    if files:
        path.write_bytes(b"".join(file.read_bytes() for file in files))


def _lineage(spec: TrialSpec, inputs: Inputs, records: tuple[StepRecord, ...]) -> Lineage:
    tools = {*_TOOLS, *(tool for step in spec.recipe.steps for tool in step.tools)}
    return Lineage(
        tenant=spec.tenant,
        model=spec.model,
        checkpoint=spec.checkpoint.revision,
        checkpoint_digest=spec.checkpoint.digest,
        parent=None if spec.source is None else spec.source.name,
        recipe=spec.recipe.name,
        recipe_digest=spec.recipe.digest,
        steps=records,
        seed=spec.seed,
        dataset_digest=spec.dataset.digest,
        splits=inputs.splits.digests(),
        tools={tool: installed_version(tool) for tool in sorted(tools)},
    )
