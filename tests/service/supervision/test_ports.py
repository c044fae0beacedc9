"""A port that is taken is named before anything starts."""

import socket

import pytest

from service.errors import FailedPrecondition
from service.supervision.ports import WantedPort, authority, choose_ports, is_answering, reachable


def wanted(port: int, name: str = "gRPC") -> WantedPort:
    return WantedPort(name, "--grpc-port", "127.0.0.1", port)


def test_zero_becomes_ports_that_differ() -> None:
    ports = choose_ports([wanted(0), wanted(0, "HTTP"), wanted(0, "metrics")])
    assert len(set(ports)) == 3
    assert 0 not in ports


def test_a_free_port_is_taken_as_it_is() -> None:
    (port,) = choose_ports([wanted(0)])
    assert choose_ports([wanted(port)]) == [port]


@pytest.mark.parametrize("shared", [False, True])
def test_a_taken_port_is_named_with_its_option(shared: bool) -> None:
    with socket.socket() as other:
        if shared:
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        assert is_answering("127.0.0.1", port)
        with pytest.raises(FailedPrecondition, match=rf"port {port} on 127.0.0.1 \(gRPC\) is taken.*--grpc-port"):
            choose_ports([wanted(port)], patience_seconds=0)
    assert not is_answering("127.0.0.1", port)


def test_a_port_that_is_given_back_soon_is_waited_for() -> None:
    other = socket.socket()
    other.bind(("127.0.0.1", 0))
    other.listen()
    pauses = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        other.close()

    port = other.getsockname()[1]
    assert choose_ports([wanted(port)], pause=pause) == [port]
    assert len(pauses) == 1


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(FailedPrecondition, match=r"cannot listen on 192\.0\.2\.1:0"):
        choose_ports([WantedPort("gRPC", "--grpc-port", "192.0.2.1", 0)])


def test_addresses_in_words() -> None:
    assert authority("::1", 8001) == "[::1]:8001"
    assert authority("127.0.0.1", 8001) == "127.0.0.1:8001"
    assert [reachable(host) for host in ("0.0.0.0", "::", "10.0.0.1")] == ["127.0.0.1", "::1", "10.0.0.1"]
