"""From a child's claim to files that may be published: everything that a manifest says of its variant is checked."""

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from optimizer.artifact.digest import of_bytes
from optimizer.artifact.inspected import Inspection
from optimizer.artifact.manifest import (
    EVALUATION_FILE,
    GOLDEN_FILE,
    MANIFEST_FILE,
    MODEL_FILE,
    TRAINING_FILE,
    Manifest,
    Verdict,
)
from optimizer.artifact.store import ArtifactStore
from optimizer.recipe.trial import TrialSpec
from service.errors import ResourceExhausted, ServiceError
from service.uploads.inspection import Findings, Inspector
from service.worker.harvest import Harvested, Tainted, take_files

_INSPECTION_SECONDS = 300.0
_INSPECTIONS = 3

_RESULT_FILES = (MODEL_FILE, MANIFEST_FILE, GOLDEN_FILE)


@dataclass(frozen=True)
class Claim:
    """A result whose files are ours and whose manifest is true to the trial that was asked for."""

    manifest: Manifest
    # Without the manifest, which is written anew: the published row and the published file must not differ.
    files: dict[str, Harvested]
    directory: Path

    def store_under(self, name: str, store: ArtifactStore) -> tuple[Manifest, list[dict[str, Any]]]:
        """Puts the files into the store for a variant called `name`; returns its manifest and {"path", ...} of each.

        May be called again with another name when the first was taken.
        """
        manifest = self.manifest.model_copy(update={"name": name})
        text = (manifest.model_dump_json(indent=2) + "\n").encode()
        path = self.directory / MANIFEST_FILE
        path.unlink(missing_ok=True)
        path.write_bytes(text)
        files = {**self.files, MANIFEST_FILE: Harvested(path, of_bytes(text), len(text))}
        for file in files.values():
            if file.path.exists():
                store.put(file.path, file.sha256, verified=True)
        return manifest, [
            {"path": name, "sha256": file.sha256, "size_bytes": file.size_bytes} for name, file in files.items()
        ]


def collect(
    manifest: Manifest, spec: TrialSpec, keys: Sequence[str], into: Path, max_bytes: int, inspector: Inspector
) -> Claim:
    """Takes the result of a finished trial out of its scratch directory. Raises Tainted when anything is not as asked.

    `manifest` is the child's word, `keys` are the cache keys planned for its steps, `into` is a new directory.
    """
    # What was made for another device has not been measured here, and so has no answers to keep.
    names = (*_RESULT_FILES, EVALUATION_FILE) if manifest.measurements else _RESULT_FILES
    files = take_files(spec.scratch, "result", names, into, max_bytes, optional=(TRAINING_FILE,))
    written = files.pop(MANIFEST_FILE)
    try:
        if Manifest.model_validate_json(written.path.read_bytes()) != manifest:
            raise Tainted("the manifest is not the one that was announced")
    except ValidationError as error:
        raise Tainted("the manifest cannot be read") from error
    _compared_as_asked(manifest, spec)
    _agree(_said(manifest), _asked(spec, keys, files[MODEL_FILE]))
    _check_model(files[MODEL_FILE].path, manifest, inspector)
    return Claim(manifest, files, into)


def _said(manifest: Manifest) -> dict[str, Any]:
    lineage = manifest.lineage
    return {
        "name": manifest.name,
        "task": manifest.task,
        "digest": manifest.digest,
        "size": manifest.size_bytes,
        "tenant": lineage.tenant,
        "model": lineage.model,
        "checkpoint": (lineage.checkpoint, lineage.checkpoint_digest),
        "parent": lineage.parent,
        "recipe": (lineage.recipe, lineage.recipe_digest),
        "steps": [(step.name, step.cache_key) for step in lineage.steps],
        "seed": lineage.seed,
        "data set": {lineage.dataset_digest, *(measurement.dataset_digest for measurement in manifest.measurements)},
        "verdict": manifest.verdict is Verdict.SOURCE,
    }


def _asked(spec: TrialSpec, keys: Sequence[str], model: Harvested) -> dict[str, Any]:
    return {
        "name": spec.variant,
        "task": spec.task,
        "digest": model.sha256,
        "size": model.size_bytes,
        "tenant": spec.tenant,
        "model": spec.model,
        "checkpoint": (spec.checkpoint.revision, spec.checkpoint.digest),
        "parent": None if spec.source is None else spec.source.name,
        "recipe": (spec.recipe.name, spec.recipe.digest),
        "steps": [(step.use, key) for step, key in zip(spec.recipe.steps, keys, strict=True)],
        "seed": spec.seed,
        "data set": {spec.dataset.digest},
        "verdict": spec.source is None,
    }


def _compared_as_asked(manifest: Manifest, spec: TrialSpec) -> None:
    """Beside its source a variant may be compared with the one that was named for it, or with none."""
    named = {measurement.against.name for measurement in manifest.measurements if measurement.against is not None}
    if named - ({spec.baseline.name} if spec.baseline is not None else set()):
        raise Tainted("the manifest is not true to the trial: earlier revision")


def _agree(said: dict[str, Any], asked: dict[str, Any]) -> None:
    wrong = [name for name, value in asked.items() if said[name] != value]
    if wrong:
        raise Tainted(f"the manifest is not true to the trial: {', '.join(wrong)}")


def _check_model(path: Path, manifest: Manifest, inspector: Inspector) -> None:
    # Engines open this file outside any sandbox: nothing that would not be taken from a stranger may come out of one.
    try:
        found = Inspection.model_validate(_inspect(path, inspector).inspection)
    except ServiceError as error:
        raise Tainted(f"the model cannot be served: {error}") from error
    said = {spec.name: spec.datatype for spec in (*manifest.signature.inputs, *manifest.signature.outputs)}
    has = {name: facts.datatype for name, facts in (*found.inputs.items(), *found.outputs.items())}
    if said != has:
        raise Tainted("the model's inputs and outputs are not those of its signature")


def _inspect(path: Path, inspector: Inspector) -> Findings:
    for _ in range(_INSPECTIONS - 1):
        # Too much memory, or the inspecting process was killed as any other may be.
        with contextlib.suppress(ResourceExhausted):
            return inspector.inspect({MODEL_FILE: path}, {}, "", _INSPECTION_SECONDS)
    return inspector.inspect({MODEL_FILE: path}, {}, "", _INSPECTION_SECONDS)
