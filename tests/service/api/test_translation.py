"""Every exception has one status, and what nobody foresaw tells nothing."""

import errno
import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from sqlalchemy.exc import IntegrityError, OperationalError

from optimizer.errors import InvalidCheckpoint, InvalidDataset, InvalidRecipe, UnsupportedModel
from service.api.translation import ErrorTranslation, status_of
from service.errors import Conflict, LeaseLost, NotFound, ServiceError
from service.wire.stillroom.v1 import model_service_pb2, upload_service_pb2
from service.wire.stillroom.v1.model_service_pb2_grpc import (
    ModelServiceServicer,
    ModelServiceStub,
    add_ModelServiceServicer_to_server,
)
from service.wire.stillroom.v1.upload_service_pb2_grpc import (
    UploadServiceServicer,
    UploadServiceStub,
    add_UploadServiceServicer_to_server,
)

CODES = grpc.StatusCode
SECRET = "/var/secret/registry.sqlite3"


def descendants(root: type[ServiceError]) -> Iterator[type[ServiceError]]:
    for child in root.__subclasses__():
        yield child
        yield from descendants(child)


@pytest.mark.parametrize("kind", sorted(descendants(ServiceError), key=lambda kind: kind.__name__))
def test_our_own_errors_keep_their_status_and_words(kind: type[ServiceError]) -> None:
    assert status_of(kind("what was wrong")) == (kind.status, "what was wrong")


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (InvalidCheckpoint("x"), CODES.INVALID_ARGUMENT),
        (InvalidDataset("x"), CODES.INVALID_ARGUMENT),
        (InvalidRecipe("x"), CODES.INVALID_ARGUMENT),
        (UnsupportedModel("x"), CODES.FAILED_PRECONDITION),
        (LeaseLost("x"), Conflict.status),
        (OperationalError("SELECT", None, Exception("database is locked")), CODES.UNAVAILABLE),
        (OperationalError("INSERT", None, Exception("database or disk is full")), CODES.RESOURCE_EXHAUSTED),
        (OSError(errno.ENOSPC, "No space left", SECRET), CODES.RESOURCE_EXHAUSTED),
        (OSError(errno.EIO, "Input/output error", SECRET), CODES.INTERNAL),
        (IntegrityError("INSERT", None, Exception(SECRET)), CODES.INTERNAL),
        (KeyError(SECRET), CODES.INTERNAL),
    ],
)
def test_foreign_errors(error: Exception, status: grpc.StatusCode) -> None:
    found, message = status_of(error)
    assert found is status
    assert SECRET not in message


def test_a_message_has_an_end() -> None:
    assert len(status_of(NotFound("x" * 100_000))[1]) == 2000


class _Broken(ModelServiceServicer, UploadServiceServicer):
    def GetModel(self, request: Any, context: Any) -> Any:  # noqa: N802
        raise KeyError(SECRET)

    def ListModels(self, request: Any, context: Any) -> Any:  # noqa: N802
        raise NotFound("nothing here")

    def WriteUpload(self, request_iterator: Iterator[Any], context: Any) -> Any:  # noqa: N802
        raise Conflict(f"after {len(list(request_iterator))}")


@pytest.fixture
def broken(tmp_path: Path) -> Iterator[grpc.Channel]:
    server = grpc.server(ThreadPoolExecutor(2), interceptors=[ErrorTranslation()])
    add_ModelServiceServicer_to_server(_Broken(), server)
    add_UploadServiceServicer_to_server(_Broken(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    server.stop(None).wait()


def test_over_the_wire(broken: grpc.Channel, caplog: pytest.LogCaptureFixture) -> None:
    stub = ModelServiceStub(broken)
    with caplog.at_level(logging.ERROR), pytest.raises(grpc.RpcError) as failure:
        stub.GetModel(model_service_pb2.GetModelRequest())
    assert (failure.value.code(), failure.value.details()) == (CODES.INTERNAL, "internal error")
    assert SECRET in caplog.text
    with pytest.raises(grpc.RpcError) as failure:
        stub.ListModels(model_service_pb2.ListModelsRequest())
    assert (failure.value.code(), failure.value.details()) == (CODES.NOT_FOUND, "nothing here")
    messages = iter([upload_service_pb2.WriteUploadRequest()] * 3)
    with pytest.raises(grpc.RpcError) as failure:
        UploadServiceStub(broken).WriteUpload(messages)
    assert (failure.value.code(), failure.value.details()) == (CODES.ABORTED, "after 3")
