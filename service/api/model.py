"""ModelService: uploaded blobs become immutable checkpoints and data sets of a named model."""

from collections.abc import Iterable, Mapping
from typing import Any

import grpc

from optimizer.artifact.digest import is_sha256, of_tree
from optimizer.artifact.relative_path import check_distinct, check_relative_path
from optimizer.artifact.store import ArtifactStore
from optimizer.artifact.task import TASKS
from service.api.caller import tenant_of
from service.api.names import check_model_name
from service.api.revision import misfit
from service.errors import FailedPrecondition, InvalidArgument
from service.registry import tables
from service.registry.models import ModelRecords, NewCheckpoint, NewDataset
from service.registry.uploads import UploadRecords
from service.uploads.inspection import Inspector
from service.wire.stillroom.v1 import model_service_pb2 as wire
from service.wire.stillroom.v1 import model_service_pb2_grpc as wire_grpc

_MAX_FILES = 1000
_SPLITS = ({"all"}, {"train", "eval"})


class ModelServicer(wire_grpc.ModelServiceServicer):
    """Inspection runs in a child process, so that a large push holds up nobody."""

    def __init__(
        self, records: ModelRecords, uploads: UploadRecords, store: ArtifactStore, inspector: Inspector
    ) -> None:
        self._records = records
        self._uploads = uploads
        self._store = store
        self._inspector = inspector

    def CreateCheckpoint(self, request: wire.CreateCheckpointRequest, context: Any) -> wire.CreateCheckpointResponse:
        """See model_service.proto."""
        tenant, name = tenant_of(context), check_model_name(request.model)
        files = self._stored(tenant, request.files)
        check_distinct([file["path"] for file in files])
        dataset = dict(zip(request.dataset_files, self._stored(tenant, request.dataset_files.values()), strict=True))
        if dataset and set(dataset) not in _SPLITS:
            raise InvalidArgument(f"dataset_files are `all`, or `train` and `eval`, not {', '.join(sorted(dataset))}")
        if request.task not in ("", *TASKS):
            raise InvalidArgument(f"unknown task {request.task[:40]!r}; allowed are {', '.join(TASKS)}")
        if not files:
            raise InvalidArgument("a checkpoint needs at least one file")
        existing = self._records.find(tenant, name)
        # Without new data the checkpoint must fit the data that its model has.
        measured_on = dataset or (existing.dataset.files if existing and existing.dataset else {})
        wanted_task = request.task or (existing.task if existing and not dataset else "")
        findings = self._inspector.inspect(
            {file["path"]: self._store.path(file["sha256"]) for file in files},
            {split: (file["path"], self._store.path(file["sha256"])) for split, file in measured_on.items()},
            wanted_task,
            _seconds_left(context),
        )
        problem = misfit(existing.signature if existing else None, findings.inspection)
        if problem:
            raise InvalidArgument(f"{name!r} cannot have this revision: {problem}; push it under a new name")
        checkpoint = NewCheckpoint(findings.format, of_tree(_digests(files)), files, findings.inspection)
        model, row = self._records.push(
            tenant, name, findings.task or wanted_task or "agreement", checkpoint, _dataset(dataset, findings.rows)
        )
        return wire.CreateCheckpointResponse(model=_model(model), checkpoint=_checkpoint(row))

    def GetModel(self, request: wire.GetModelRequest, context: Any) -> wire.GetModelResponse:
        """See model_service.proto."""
        return wire.GetModelResponse(model=_model(self._records.get(tenant_of(context), request.model)))

    def ListModels(self, request: wire.ListModelsRequest, context: Any) -> wire.ListModelsResponse:
        """See model_service.proto."""
        return wire.ListModelsResponse(models=[_model(row) for row in self._records.list(tenant_of(context))])

    def _stored(self, tenant: str, files: Iterable[wire.File]) -> list[dict[str, Any]]:
        wanted = list(files)
        if len(wanted) > _MAX_FILES:
            raise InvalidArgument(f"a push may name at most {_MAX_FILES} files, not {len(wanted)}")
        for file in wanted:
            check_relative_path(file.path)
            if not is_sha256(file.sha256):
                raise InvalidArgument(f"{file.path}: sha256 must be 64 lower-case hexadecimal digits")
        blobs = self._uploads.blobs(tenant, {file.sha256 for file in wanted})
        for file in wanted:
            blob = blobs.get(file.sha256)
            if blob is None or not self._store.has(file.sha256):
                raise FailedPrecondition(f"{file.path} (sha256 {file.sha256}) is not stored: finish its upload first")
            if file.size_bytes not in (0, blob.size_bytes):
                raise InvalidArgument(f"{file.path} has {blob.size_bytes} bytes, not {file.size_bytes}")
            self._store.touch(file.sha256)
        return [
            {"path": file.path, "sha256": file.sha256, "size_bytes": blobs[file.sha256].size_bytes} for file in wanted
        ]


def _digests(files: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    return {file["path"]: file["sha256"] for file in files}


def _dataset(files: Mapping[str, Mapping[str, Any]], rows: Mapping[str, int]) -> NewDataset | None:
    if not files:
        return None
    digest = of_tree({split: file["sha256"] for split, file in files.items()})
    return NewDataset(digest, {split: {**file, "rows": rows[split]} for split, file in files.items()})


def _seconds_left(context: grpc.ServicerContext) -> float:
    left: float | None = context.time_remaining()
    return float("inf") if left is None else left


def _model(row: tables.Model) -> wire.Model:
    message = wire.Model(
        name=row.name, task=row.task, checkpoints=[_checkpoint(checkpoint) for checkpoint in row.checkpoints]
    )
    message.create_time.FromDatetime(row.created_at)
    if row.dataset is not None:
        message.dataset.digest = row.dataset.digest
        for split, file in row.dataset.files.items():
            message.dataset.files[split].CopyFrom(_file(file))
            message.dataset.rows[split] = file["rows"]
    return message


def _checkpoint(row: tables.Checkpoint) -> wire.Checkpoint:
    message = wire.Checkpoint(
        revision=row.name, format=row.format, digest=row.digest, files=[_file(file) for file in row.files]
    )
    message.create_time.FromDatetime(row.created_at)
    return message


def _file(file: Mapping[str, Any]) -> wire.File:
    return wire.File(path=file["path"], sha256=file["sha256"], size_bytes=file["size_bytes"])
