import builtins

import pytest

from service.errors import FailedPrecondition
from service.transport.base import FrontOptions, shorten
from service.transport.choice import open_front
from service.transport.grpcio import GrpcioFront
from service.transport.native import NativeFront

OPTIONS = FrontOptions(methods=("/a.B/C",))


@pytest.fixture
def without_native(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name, *arguments, **options):
        if name == "service.transport.native":
            raise ImportError("no wheel for this platform")
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)


@pytest.mark.parametrize(
    ("transport", "kind"), [("auto", NativeFront), ("native", NativeFront), ("grpcio", GrpcioFront)]
)
def test_the_adapter_is_the_one_asked_for(transport, kind) -> None:
    front = open_front(transport, OPTIONS)
    assert isinstance(front, kind)
    front.close()


def test_auto_serves_through_grpcio_where_the_native_front_cannot_be_had(without_native, caplog) -> None:
    front = open_front("auto", OPTIONS)
    assert isinstance(front, GrpcioFront)
    assert "no wheel for this platform" in caplog.text
    front.close()


def test_native_says_what_it_needs_where_it_cannot_be_had(without_native) -> None:
    with pytest.raises(FailedPrecondition, match="pygrpc-native"):
        open_front("native", OPTIONS)


def test_a_target_is_written_as_grpc_reads_it() -> None:
    assert FrontOptions(methods=(), host="127.0.0.1", port=8001).target == "127.0.0.1:8001"
    assert FrontOptions(methods=(), host="::1", port=8001).target == "[::1]:8001"


def test_a_host_that_is_not_ours_is_refused_in_a_sentence() -> None:
    for transport in ("native", "grpcio"):
        with pytest.raises(FailedPrecondition, match=r"192\.0\.2\.1"):
            open_front(transport, FrontOptions(methods=(), host="192.0.2.1")).start()


def test_a_message_is_cut_only_when_it_must_be() -> None:
    assert shorten("x" * 1000) == "x" * 1000
    assert len(shorten("x" * 1001)) == 1000
