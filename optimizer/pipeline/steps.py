"""Finished steps on disk: each a directory named by its cache key, complete or not there at all.

steps/<key>/steps.json       the records of this step and of those before it
steps/<key>/model.onnx and signature.json            after an ONNX pass
steps/<key>/model.safetensors and architecture.json  after a torch pass
"""

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from pydantic import TypeAdapter

from optimizer.artifact.manifest import MODEL_FILE, StepRecord
from optimizer.artifact.signature import Signature
from optimizer.intake.stages import OnnxModel, TorchModel
from optimizer.passes.table import Model
from optimizer.recipe.base import Stage

_RECORDS = "steps.json"
_SIGNATURE = "signature.json"
_RECORD_LIST: TypeAdapter[tuple[StepRecord, ...]] = TypeAdapter(tuple[StepRecord, ...])


class StepStore:
    """Reads steps of earlier trials, reads and writes those of this one. Constructing it touches nothing."""

    def __init__(self, directory: Path, cache: Mapping[str, Path]) -> None:
        """`directory` is writable; `cache` names finished steps of earlier trials, read-only."""
        self._directory = directory
        self._cache = cache

    def find(self, key: str) -> Path | None:
        """The directory of a finished step."""
        for directory in (self._directory / key, self._cache.get(key)):
            if directory is not None and (directory / _RECORDS).is_file():
                return directory
        return None

    def is_ours(self, key: str) -> bool:
        """Whether the step was finished below our own directory, by this process or one that was killed."""
        return (self._directory / key / _RECORDS).is_file()

    def begin(self, key: str) -> Path:
        """An empty directory for the files of an unfinished step; what a killed process left there is removed."""
        partial = self._directory / f"{key}.partial"
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        return partial

    def finish(
        self, key: str, model: Model, records: tuple[StepRecord, ...], source: Callable[[], TorchModel]
    ) -> Model:
        """Keeps a step, all or nothing; returns the model where it now lies.

        `source` opens the checkpoint anew: a torch model is kept as what was changed in it.
        """
        partial, final = self._directory / f"{key}.partial", self._directory / key
        if isinstance(model, OnnxModel):
            (partial / _SIGNATURE).write_text(model.signature.model_dump_json())
        else:
            from optimizer.intake import architecture

            architecture.save(model, partial, source)
        (partial / _RECORDS).write_bytes(_RECORD_LIST.dump_json(records))
        for file in partial.iterdir():
            _flush(file)
        partial.rename(final)
        _flush(self._directory)
        return OnnxModel(final / MODEL_FILE, model.signature) if isinstance(model, OnnxModel) else model


def read_records(directory: Path) -> tuple[StepRecord, ...]:
    """The records of a finished step and of those before it."""
    return _RECORD_LIST.validate_json((directory / _RECORDS).read_bytes())


def read_model(directory: Path, stage: Stage, source: Callable[[], TorchModel]) -> Model:
    """The model that a finished step left; `source` opens the checkpoint anew."""
    if stage is Stage.ONNX:
        return OnnxModel(directory / MODEL_FILE, Signature.model_validate_json((directory / _SIGNATURE).read_bytes()))
    from optimizer.intake import architecture

    return architecture.load(directory, source)


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
