"""UploadService: bytes become blobs."""

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc

from service.api.caller import tenant_of
from service.errors import ResourceExhausted
from service.uploads.receiver import Chunk, Progress, Receiver
from service.wire.stillroom.v1 import upload_service_pb2 as wire
from service.wire.stillroom.v1 import upload_service_pb2_grpc as wire_grpc

# Each stream occupies a thread of the server for as long as the client likes.
MAX_STREAMS = 24
# A client that vanished without a word would hold its upload's lock for ever.
STALLED_SECONDS = 60.0


class UploadServicer(wire_grpc.UploadServiceServicer):
    """Thin over service.uploads.receiver."""

    def __init__(self, receiver: Receiver, clock: Callable[[], float] = time.monotonic) -> None:
        self._receiver = receiver
        self._clock = clock
        self._lock = threading.Lock()
        # Open streams and when each last brought something.
        self._heard: dict[grpc.ServicerContext, float] = {}

    def CreateUpload(self, request: wire.CreateUploadRequest, context: Any) -> wire.CreateUploadResponse:
        """See upload_service.proto."""
        progress = self._receiver.announce(tenant_of(context), request.sha256, request.size_bytes)
        return wire.CreateUploadResponse(upload=_message(progress))

    def GetUpload(self, request: wire.GetUploadRequest, context: Any) -> wire.GetUploadResponse:
        """See upload_service.proto."""
        return wire.GetUploadResponse(upload=_message(self._receiver.progress(tenant_of(context), request.upload_id)))

    def WriteUpload(
        self, request_iterator: Iterator[wire.WriteUploadRequest], context: grpc.ServicerContext
    ) -> wire.WriteUploadResponse:
        """See upload_service.proto."""
        with self._lock:
            if len(self._heard) >= MAX_STREAMS:
                raise ResourceExhausted(f"{MAX_STREAMS} uploads are being sent already; try again")
            self._heard[context] = self._clock()
        try:
            progress = self._receiver.receive(tenant_of(context), self._chunks(request_iterator, context))
        finally:
            with self._lock:
                del self._heard[context]
        return wire.WriteUploadResponse(upload=_message(progress))

    def cancel_stalled(self) -> int:
        """Ends streams that brought nothing for long; what they had brought stays. Says how many."""
        oldest = self._clock() - STALLED_SECONDS
        with self._lock:
            stalled = [context for context, heard in self._heard.items() if heard < oldest]
        for context in stalled:
            context.cancel()
        return len(stalled)

    def _chunks(self, requests: Iterator[wire.WriteUploadRequest], context: grpc.ServicerContext) -> Iterator[Chunk]:
        for request in requests:
            self._heard[context] = self._clock()
            yield Chunk(request.upload_id, request.offset, request.data)


def _message(progress: Progress) -> wire.Upload:
    return wire.Upload(
        upload_id=progress.upload_id,
        sha256=progress.sha256,
        size_bytes=progress.size_bytes,
        received_bytes=progress.received_bytes,
        complete=progress.complete,
    )
