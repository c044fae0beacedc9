"""Variants of the fake server, by the contract of variant_service.proto."""

from collections.abc import Iterator

import grpc

from service.client.fake.refusal import not_found
from service.client.fake.state import State
from service.wire.stillroom.v1 import variant_service_pb2 as variant_pb2
from service.wire.stillroom.v1.variant_service_pb2_grpc import VariantServiceServicer

# Small, so that even a short file comes in several messages.
_PIECE_BYTES = 4096


class Variants(VariantServiceServicer):
    """Published variants and their files."""

    def __init__(self, state: State) -> None:
        self._state = state

    def ListVariants(self, request: variant_pb2.ListVariantsRequest, context: grpc.ServicerContext) -> object:
        if request.model not in self._state.models:
            not_found(context, f"model {request.model!r}")
        return variant_pb2.ListVariantsResponse(variants=self._state.variants.get(request.model, []))

    def GetVariant(self, request: variant_pb2.GetVariantRequest, context: grpc.ServicerContext) -> object:
        return variant_pb2.GetVariantResponse(variant=self._find(request.model, request.variant, context))

    def DownloadVariant(
        self, request: variant_pb2.DownloadVariantRequest, context: grpc.ServicerContext
    ) -> Iterator[object]:
        variant = self._find(request.model, request.variant, context)
        faults = self._state.faults
        files = [file for file in variant.files if not request.paths or file.path in request.paths]
        if faults.cut_download:
            faults.cut_download = False
            files = files[:-1]
        for file in files:
            data = self._state.files[file.sha256]
            if faults.damage_download:
                faults.damage_download = False
                data = bytes([data[0] ^ 1]) + data[1:]
            header = type(file)()
            header.CopyFrom(file)
            if faults.hostile_download:
                faults.hostile_download = False
                header.path = "../outside"
            yield variant_pb2.DownloadVariantResponse(file=header, data=data[:_PIECE_BYTES])
            for start in range(_PIECE_BYTES, len(data), _PIECE_BYTES):
                yield variant_pb2.DownloadVariantResponse(data=data[start : start + _PIECE_BYTES])

    def _find(self, model: str, name: str, context: grpc.ServicerContext) -> variant_pb2.Variant:
        found = [variant for variant in self._state.variants.get(model, []) if variant.name == name]
        return found[0] if found else not_found(context, f"variant {name!r} of model {model!r}")
