"""Uploads of the fake server, by the contract of upload_service.proto."""

import hashlib
from collections.abc import Iterator

import grpc

from service.client.fake.refusal import not_found, refuse
from service.client.fake.state import State
from service.wire.stillroom.v1 import upload_service_pb2 as upload_pb2
from service.wire.stillroom.v1.upload_service_pb2_grpc import UploadServiceServicer


class Uploads(UploadServiceServicer):
    """Content-addressed bytes."""

    def __init__(self, state: State) -> None:
        self._state = state

    def CreateUpload(self, request: upload_pb2.CreateUploadRequest, context: grpc.ServicerContext) -> object:
        state = self._state
        with state.lock:
            upload = upload_pb2.Upload(
                upload_id=f"upload-{len(state.uploads) + 1}", sha256=request.sha256, size_bytes=request.size_bytes
            )
            if request.sha256 in state.blobs:
                upload.received_bytes, upload.complete = request.size_bytes, True
            state.uploads[upload.upload_id] = upload
            state.partial[upload.upload_id] = bytearray()
            return upload_pb2.CreateUploadResponse(upload=upload)

    def WriteUpload(
        self, request_iterator: Iterator[upload_pb2.WriteUploadRequest], context: grpc.ServicerContext
    ) -> object:
        state = self._state
        first = next(request_iterator)
        upload = self._find(first.upload_id, context)
        stored = state.partial[upload.upload_id]
        message: upload_pb2.WriteUploadRequest | None = first
        while message is not None:
            if message.offset != len(stored):
                sentence = f"offset {message.offset} does not continue the {len(stored)} bytes stored"
                refuse(context, grpc.StatusCode.INVALID_ARGUMENT, sentence)
            stored.extend(message.data)
            upload.received_bytes = len(stored)
            limit = state.faults.break_upload_after_bytes
            if limit is not None and len(stored) >= limit:
                state.faults.break_upload_after_bytes = None
                refuse(context, grpc.StatusCode.UNAVAILABLE, "Socket closed")
            message = next(request_iterator, None)
        if len(stored) == upload.size_bytes:
            if hashlib.sha256(stored).hexdigest() != upload.sha256:
                refuse(context, grpc.StatusCode.INVALID_ARGUMENT, "the bytes do not have the announced sha256")
            upload.complete = True
            state.blobs[upload.sha256] = bytes(stored)
        return upload_pb2.WriteUploadResponse(upload=upload)

    def GetUpload(self, request: upload_pb2.GetUploadRequest, context: grpc.ServicerContext) -> object:
        return upload_pb2.GetUploadResponse(upload=self._find(request.upload_id, context))

    def _find(self, upload_id: str, context: grpc.ServicerContext) -> upload_pb2.Upload:
        return self._state.uploads.get(upload_id) or not_found(context, f"upload {upload_id!r}")
