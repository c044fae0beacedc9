"""Sends a file so that a lost connection, or a server's restart, costs only the bytes that were on the way."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

from service.client.asking import ask
from service.client.connection import translated
from service.client.patience import Patience
from service.client.resources import File
from service.errors import Conflict, FailedPrecondition, InvalidArgument, Unavailable
from service.wire.stillroom.v1 import upload_service_pb2 as pb2
from service.wire.stillroom.v1.upload_service_pb2_grpc import UploadServiceStub

CHUNK_BYTES = 2**20

# Called with (name of the file, bytes that have been sent, size of the file). Calls come from a thread of gRPC's, one
# at a time, and must return soon.
Progress = Callable[[str, int, int], None]


def describe(name: str, path: Path) -> File:
    """Name, sha256 and size of a local file, read once. Raises InvalidArgument when it cannot be read."""
    try:
        with path.open("rb") as stream:
            sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
            return File(name, sha256, stream.tell())
    except OSError as error:
        raise InvalidArgument(f"cannot read {path}: {error.strerror}") from error


class Uploader:
    """Uploads files one after another over one channel. `patience()` makes a fresh Patience for each file."""

    def __init__(
        self, stub: UploadServiceStub, server: str, timeout_seconds: float, patience: Callable[[], Patience]
    ) -> None:
        self._stub = stub
        self._server = server
        self._timeout_seconds = timeout_seconds
        self._patience = patience

    def send(self, file: File, path: Path, progress: Progress) -> None:
        """Brings the bytes of `path`, described by `file`, to the server; sends nothing that it already has.

        Raises what the server refused with, or the last connection error when the patience was spent.
        """
        request = pb2.CreateUploadRequest(sha256=file.sha256, size_bytes=file.size_bytes)
        patience = self._patience()
        upload = ask(self._server, self._stub.CreateUpload, request, self._timeout_seconds, patience).upload
        while not upload.complete:
            before = upload.received_bytes
            try:
                upload = self._attempt(upload, file, path, progress)
                if not upload.complete:
                    raise FailedPrecondition(f"{path} changed while it was being sent; push it again")
            except (Unavailable, Conflict) as error:
                # A Conflict: the server still holds the stream that was lost on our side.
                patience.wait(error)
                upload = self._ask(upload, patience)
                if upload.received_bytes > before:
                    patience.progressed()
        progress(file.path, file.size_bytes, file.size_bytes)

    def _attempt(self, upload: pb2.Upload, file: File, path: Path, progress: Progress) -> pb2.Upload:
        with translated(self._server):
            response: pb2.WriteUploadResponse = self._stub.WriteUpload(_chunks(upload, file, path, progress))
        return response.upload

    def _ask(self, upload: pb2.Upload, patience: Patience) -> pb2.Upload:
        """How far the upload has come, as soon as the server can be asked."""
        while True:
            try:
                with translated(self._server):
                    request = pb2.GetUploadRequest(upload_id=upload.upload_id)
                    response: pb2.GetUploadResponse = self._stub.GetUpload(request, timeout=self._timeout_seconds)
                return response.upload
            except Unavailable as error:
                patience.wait(error)


def _chunks(upload: pb2.Upload, file: File, path: Path, progress: Progress) -> Iterator[pb2.WriteUploadRequest]:
    """The file's bytes from where the server stands. The first message goes out even when no byte is left."""
    offset = upload.received_bytes
    progress(file.path, offset, file.size_bytes)
    with path.open("rb") as stream:
        stream.seek(offset)
        data = stream.read(CHUNK_BYTES)
        yield pb2.WriteUploadRequest(upload_id=upload.upload_id, offset=offset, data=data)
        while data:
            offset += len(data)
            progress(file.path, offset, file.size_bytes)
            data = stream.read(CHUNK_BYTES)
            if data:
                yield pb2.WriteUploadRequest(offset=offset, data=data)
