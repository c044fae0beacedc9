"""The client: everything that a Stillroom server can be asked, as plain Python calls.

    with Client("127.0.0.1:8001") as client:
        client.push("digits", Path("checkpoint/"), {"all": Path("digits.npz")})
        job = client.optimize("digits")
        for event in client.watch(job.job_id):
            print(event.percent, event.message)
        client.split("digits", {"r1.fp32": 50, "r1.int8": 50})
        client.infer("digits", {"pixel_values": pixels}).outputs["logits"]

Every error is one of service.errors, with the server's own sentence.
"""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, Unpack

from service.client import decoding, downloading, inference, resources, selection, uploading, watching
from service.client.asking import CONTROL_PATIENCE_SECONDS, ask
from service.client.connection import open_channel, translated
from service.client.optimizing import Wishes, request_of
from service.client.patience import Patience
from service.client.tensors import Array
from service.errors import NotFound, ServiceError
from service.wire.open_inference import grpc_service_pb2 as oip
from service.wire.open_inference.grpc_service_pb2_grpc import GRPCInferenceServiceStub
from service.wire.stillroom.v1 import model_service_pb2 as model_pb2
from service.wire.stillroom.v1 import optimization_service_pb2 as optimization_pb2
from service.wire.stillroom.v1 import traffic_service_pb2 as traffic_pb2
from service.wire.stillroom.v1 import variant_service_pb2 as variant_pb2
from service.wire.stillroom.v1.model_service_pb2_grpc import ModelServiceStub
from service.wire.stillroom.v1.optimization_service_pb2_grpc import OptimizationServiceStub
from service.wire.stillroom.v1.traffic_service_pb2_grpc import TrafficServiceStub
from service.wire.stillroom.v1.upload_service_pb2_grpc import UploadServiceStub
from service.wire.stillroom.v1.variant_service_pb2_grpc import VariantServiceStub

DEFAULT_SERVER = "127.0.0.1:8001"

# Registering a checkpoint makes the server read all of it and all of its data.
_REGISTER_SECONDS = 900.0
_MANIFEST = "manifest.json"


def _silent(name: str, done_bytes: int, size_bytes: int) -> None:
    """Progress that nobody asked for."""


@dataclass(frozen=True)
class Pushed:
    """What a push made, and the local files that it did not send."""

    model: resources.Model
    checkpoint: resources.Checkpoint
    left_out: tuple[str, ...]


class Client:
    """Calls one server, given as host:port. May be shared between threads. Close it, or use it in a `with`.

    A plain call fails after `timeout_seconds`. Uploads and `watch` go on after a lost connection until nothing has
    come through for `patience_seconds`.
    """

    def __init__(
        self,
        server: str = DEFAULT_SERVER,
        *,
        timeout_seconds: float = 60.0,
        patience_seconds: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.server = server
        self._timeout_seconds = timeout_seconds
        self._patience = lambda: Patience(patience_seconds, clock, sleep)
        self._control_patience: Callable[[], Patience] = lambda: Patience(CONTROL_PATIENCE_SECONDS, clock, sleep)
        self._channel = open_channel(server)
        self._uploads = UploadServiceStub(self._channel)
        self._models = ModelServiceStub(self._channel)
        self._optimizations = OptimizationServiceStub(self._channel)
        self._variants = VariantServiceStub(self._channel)
        self._traffic = TrafficServiceStub(self._channel)
        self._inference = GRPCInferenceServiceStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends all calls and lets the connection go."""
        self._channel.close()

    def status(self) -> resources.ServerStatus:
        """Whether the server is live and ready, and what it is."""
        metadata = self._call(self._inference.ServerMetadata, oip.ServerMetadataRequest())
        return resources.ServerStatus(
            live=self._call(self._inference.ServerLive, oip.ServerLiveRequest()).live,
            ready=self._call(self._inference.ServerReady, oip.ServerReadyRequest()).ready,
            name=metadata.name,
            version=metadata.version,
            extensions=tuple(metadata.extensions),
        )

    def push(
        self,
        name: str,
        path: Path,
        data: Mapping[str, Path] | None = None,
        task: str = "",
        progress: uploading.Progress = _silent,
    ) -> Pushed:
        """Uploads a checkpoint (see service.client.selection) as the model's next revision.

        `data` maps "all", or "train" and "eval", to .npz, .safetensors or .parquet files; without it the model keeps
        the data set that it has. `task` is one of docs/data.md, or empty: the server chooses by model and labels.
        """
        chosen = selection.select(path)
        data = data or {}
        alike = len({local.name for local in data.values()}) < len(data)
        names = {split: f"{split}-{local.name}" if alike else local.name for split, local in data.items()}
        uploader = uploading.Uploader(self._uploads, self.server, self._timeout_seconds, self._patience)

        def upload(file_name: str, local: Path) -> model_pb2.File:
            file = uploading.describe(file_name, local)
            uploader.send(file, local, progress)
            return model_pb2.File(path=file.path, sha256=file.sha256, size_bytes=file.size_bytes)

        request = model_pb2.CreateCheckpointRequest(
            model=name,
            files=[upload(file_name, local) for file_name, local in chosen.files.items()],
            task=task,
            dataset_files={split: upload(split_name, data[split]) for split, split_name in names.items()},
        )
        response = self._call(self._models.CreateCheckpoint, request, _REGISTER_SECONDS)
        return Pushed(decoding.model(response.model), decoding.checkpoint(response.checkpoint), chosen.left_out)

    def model(self, name: str) -> resources.Model:
        """A model, its checkpoints and its data set. Raises NotFound."""
        return decoding.model(self._call(self._models.GetModel, model_pb2.GetModelRequest(model=name)).model)

    def models(self) -> list[resources.Model]:
        """All models."""
        response = self._call(self._models.ListModels, model_pb2.ListModelsRequest())
        return [decoding.model(model) for model in response.models]

    def optimize(self, name: str, **wishes: Unpack[Wishes]) -> resources.Job:
        """Asks for variants and returns the job at once; `watch` follows it."""
        request = request_of(name, wishes)
        return decoding.job(self._call(self._optimizations.CreateOptimization, request).job)

    def plan(self, name: str, **wishes: Unpack[Wishes]) -> resources.Plan:
        """What `optimize` would try for the same wishes; starts nothing."""
        request = optimization_pb2.PlanOptimizationRequest(optimization=request_of(name, wishes))
        return decoding.plan(self._call(self._optimizations.PlanOptimization, request))

    def job(self, job_id: str) -> resources.Job:
        """A job. Raises NotFound."""
        request = optimization_pb2.GetOptimizationRequest(job_id=job_id)
        return decoding.job(self._call(self._optimizations.GetOptimization, request).job)

    def jobs(self, name: str = "", limit: int = 0) -> list[resources.Job]:
        """Jobs of a model, or of all models, newest first. `limit` 0: as many as the server gives (100)."""
        request = optimization_pb2.ListOptimizationsRequest(model=name, page_size=limit)
        return [decoding.job(job) for job in self._call(self._optimizations.ListOptimizations, request).jobs]

    def cancel(self, job_id: str) -> resources.Job:
        """Asks a job to stop; the variants that it has finished stay."""
        request = optimization_pb2.CancelOptimizationRequest(job_id=job_id)
        return decoding.job(self._call(self._optimizations.CancelOptimization, request).job)

    def watch(self, job_id: str, after_sequence: int = 0) -> Iterator[resources.JobEvent]:
        """Yields a job's events, each once and in order, until the job has ended; see service.client.watching."""
        return watching.watch(
            self._optimizations, self.server, job_id, after_sequence, self._timeout_seconds, self._patience
        )

    def variants(self, name: str) -> list[resources.Variant]:
        """All variants of a model, oldest first."""
        response = self._call(self._variants.ListVariants, variant_pb2.ListVariantsRequest(model=name))
        return [decoding.variant(variant) for variant in response.variants]

    def variant(self, name: str, variant: str) -> resources.Variant:
        """A variant. Raises NotFound."""
        request = variant_pb2.GetVariantRequest(model=name, variant=variant)
        return decoding.variant(self._call(self._variants.GetVariant, request).variant)

    def manifest(self, name: str, variant: str) -> dict[str, Any]:
        """A variant's lineage manifest, as the JSON object that lies beside its model.onnx."""
        request = variant_pb2.DownloadVariantRequest(model=name, variant=variant, paths=[_MANIFEST])
        with translated(self.server):
            call = self._variants.DownloadVariant(request, timeout=self._timeout_seconds)
            try:
                for path, pieces in downloading.by_file(call):
                    content = b"".join(pieces)
                    if path == _MANIFEST:
                        found: dict[str, Any] = json.loads(content)
                        return found
            except ValueError as error:
                raise ServiceError(f"the manifest of {variant} is not valid JSON") from error
            finally:
                call.cancel()
        raise NotFound(f"variant {variant!r} of model {name!r} has no {_MANIFEST}")

    def pull(self, name: str, variant: str, directory: Path, progress: downloading.Progress = _silent) -> list[Path]:
        """Downloads a variant's files into a new directory and returns their paths; see service.client.downloading."""
        downloading.check_destination(directory)
        files = self.variant(name, variant).files
        request = variant_pb2.DownloadVariantRequest(model=name, variant=variant)
        with translated(self.server):
            call = self._variants.DownloadVariant(request)
            try:
                downloading.store(call, files, directory, progress)
            finally:
                call.cancel()
        return [directory / file.path for file in files]

    def traffic(self, name: str) -> resources.Traffic:
        """The model's present split."""
        return decoding.traffic(self._call(self._traffic.GetTraffic, traffic_pb2.GetTrafficRequest(model=name)).traffic)

    def split(
        self, name: str, weights: Mapping[str, float], *, wait_seconds: float = 10.0, reason: str = ""
    ) -> resources.Traffic:
        """Writes the next generation of the split (percentages that sum to 100) and waits until engines apply it.

        When they have not after `wait_seconds`, the result's `applied` is false and the generation stands all the same.
        """
        request = traffic_pb2.SetTrafficRequest(
            model=name,
            arms=[traffic_pb2.Arm(variant=variant, weight=weight) for variant, weight in weights.items()],
            wait_seconds=wait_seconds,
            reason=reason,
        )
        response = self._call(self._traffic.SetTraffic, request, self._timeout_seconds + wait_seconds)
        return decoding.traffic(response.traffic, response.warnings)

    def signature(self, name: str, version: str = "") -> resources.Signature:
        """Inputs and outputs of a model, as any client of the Open Inference Protocol sees them."""
        request = oip.ModelMetadataRequest(name=name, version=version)
        return inference.signature(self._call(self._inference.ModelMetadata, request))

    def infer(
        self,
        name: str,
        inputs: Mapping[str, Array],
        *,
        version: str = "",
        key: str = "",
        outputs: Sequence[str] = (),
        request_id: str = "",
    ) -> inference.Inference:
        """Answers for a batch of rows. `version` pins a variant; `key` keeps equal keys on one side of a split."""
        request = inference.request(name, inputs, version, key, outputs, request_id)
        return inference.answer(self._call(self._inference.ModelInfer, request))

    def _call(self, method: Any, request: Any, timeout_seconds: float | None = None) -> Any:
        """One unary call. Stubs that grpc generates carry no types; the public methods above give them back."""
        patience = self._control_patience()
        return ask(self.server, method, request, timeout_seconds or self._timeout_seconds, patience)
