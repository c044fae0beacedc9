import grpc
import pytest

from service import errors
from service.client.client import Client
from service.client.connection import check_address, from_rpc_error


class Failure(grpc.RpcError):
    def __init__(self, code: grpc.StatusCode, details: str | None) -> None:
        self._code, self._details = code, details

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str | None:
        return self._details


@pytest.mark.parametrize("address", ["localhost:8001", "10.0.0.1:1", "[::1]:65535", "a-b.example:8001"])
def test_host_and_port_is_an_address(address: str) -> None:
    assert check_address(address) == address


@pytest.mark.parametrize(
    "address", ["", "localhost", "http://localhost:8001", "a:0", "a:65536", "a:b", ":8001", "a b:1"]
)
def test_anything_else_is_refused(address: str) -> None:
    with pytest.raises(errors.InvalidArgument, match="host:port"):
        check_address(address)


@pytest.mark.parametrize("kind", errors.ServiceError.__subclasses__())
def test_every_status_comes_back_as_its_error_with_the_sentence(kind: type[errors.ServiceError]) -> None:
    found = from_rpc_error(Failure(kind.status, "what was wrong"), "host:1")
    assert type(found) is kind
    assert str(found) == "what was wrong"


def test_status_without_an_error_of_its_own_is_the_root() -> None:
    found = from_rpc_error(Failure(grpc.StatusCode.DATA_LOSS, None), "host:1")
    assert type(found) is errors.ServiceError
    assert "DATA_LOSS" in str(found)


@pytest.mark.parametrize(
    ("code", "details"),
    [
        (grpc.StatusCode.UNAVAILABLE, "failed to connect to all addresses; last error: ..."),
        (grpc.StatusCode.UNAVAILABLE, "Socket closed"),
        (grpc.StatusCode.UNKNOWN, "Stream removed"),
        (grpc.StatusCode.INTERNAL, "Received RST_STREAM with error code 2"),
    ],
)
def test_lost_server_is_unreachable(code: grpc.StatusCode, details: str) -> None:
    assert isinstance(from_rpc_error(Failure(code, details), "host:1"), errors.Unreachable)


def test_unavailable_in_the_servers_own_words_is_not_unreachable() -> None:
    found = from_rpc_error(Failure(grpc.StatusCode.UNAVAILABLE, "the queue of r1.fp32 is full"), "host:1")
    assert type(found) is errors.Unavailable


def test_late_answer_names_the_server_and_a_servers_own_sentence_stays() -> None:
    assert "host:1" in str(from_rpc_error(Failure(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded"), "host:1"))
    assert (
        str(from_rpc_error(Failure(grpc.StatusCode.DEADLINE_EXCEEDED, "queued too long"), "h:1")) == "queued too long"
    )


def test_nobody_at_the_address_is_unreachable_at_once() -> None:
    with Client("127.0.0.1:1") as client, pytest.raises(errors.Unreachable, match=r"127\.0\.0\.1:1"):
        client.status()
