"""VariantService: what was published, how it is served, and its files."""

from collections.abc import Iterator, Sequence
from typing import Any

from optimizer.artifact.manifest import Verdict
from optimizer.artifact.store import ArtifactStore
from service.api.caller import tenant_of
from service.api.variant_message import message
from service.errors import NotFound
from service.fleet.board import Board, Standing
from service.fleet.shares import present_shares
from service.registry import tables
from service.registry.models import ModelRecords
from service.registry.variants import VariantRecords
from service.wire.stillroom.v1 import model_service_pb2, variant_service_pb2_grpc
from service.wire.stillroom.v1 import variant_service_pb2 as wire

_PIECE_BYTES = 1 << 20


class VariantServicer(variant_service_pb2_grpc.VariantServiceServicer):
    """Figures come from the manifests, states from the engines."""

    def __init__(self, models: ModelRecords, variants: VariantRecords, board: Board, store: ArtifactStore) -> None:
        self._models = models
        self._variants = variants
        self._board = board
        self._store = store

    def ListVariants(self, request: wire.ListVariantsRequest, context: Any) -> wire.ListVariantsResponse:
        """See variant_service.proto."""
        return wire.ListVariantsResponse(variants=self._messages(tenant_of(context), request.model))

    def GetVariant(self, request: wire.GetVariantRequest, context: Any) -> wire.GetVariantResponse:
        """See variant_service.proto."""
        self._models.get(tenant_of(context), request.model)
        self._variants.get(tenant_of(context), request.model, request.variant)
        found = self._messages(tenant_of(context), request.model)
        return wire.GetVariantResponse(variant=next(variant for variant in found if variant.name == request.variant))

    def DownloadVariant(
        self, request: wire.DownloadVariantRequest, context: Any
    ) -> Iterator[wire.DownloadVariantResponse]:
        """See variant_service.proto."""
        self._models.get(tenant_of(context), request.model)
        row = self._variants.get(tenant_of(context), request.model, request.variant)
        files = {file["path"]: file for file in row.files}
        for path in request.paths or files:
            if path not in files:
                raise NotFound(f"{request.variant} has no file {path[:80]!r}; it has {', '.join(files)}")
            yield from self._file(
                model_service_pb2.File(path=path, sha256=files[path]["sha256"], size_bytes=files[path]["size_bytes"])
            )

    def _file(self, file: model_service_pb2.File) -> Iterator[wire.DownloadVariantResponse]:
        with self._store.path(file.sha256).open("rb") as stream:
            yield wire.DownloadVariantResponse(file=file, data=stream.read(_PIECE_BYTES))
            while piece := stream.read(_PIECE_BYTES):
                yield wire.DownloadVariantResponse(data=piece)

    def _messages(self, tenant: str, model: str) -> list[wire.Variant]:
        self._models.get(tenant, model)
        rows = self._variants.list(tenant, model)
        split = self._variants.traffic(tenant, model)
        arms = None if split is None else {arm["variant"]: arm["basis_points"] for arm in split.arms}
        sources = sorted((row for row in rows if row.verdict == Verdict.SOURCE), key=_age)
        shares = present_shares(
            arms,
            [row.name for row in sources],
            lambda name: self._board.standing(tenant, model, name).serving,
        )
        return [
            message(row, model, self._standing(tenant, model, row, arms or ()), shares.get(row.name, 0.0))
            for row in rows
        ]

    def _standing(
        self, tenant: str, model: str, row: tables.Variant, arms: Sequence[str] | dict[str, int]
    ) -> Standing | None:
        """None: nobody asked for it to be served."""
        if row.accepted or row.name in arms:
            return self._board.standing(tenant, model, row.name)
        return None


def _age(row: tables.Variant) -> tuple[int, int]:
    return row.checkpoint.revision, row.id
