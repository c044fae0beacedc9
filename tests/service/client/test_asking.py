import grpc
import pytest

from service.client.asking import ask
from service.client.patience import Patience
from service.errors import ControlAway, Unavailable


class Failure(grpc.RpcError):
    def __init__(self, details: str) -> None:
        self._details = details

    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.UNAVAILABLE

    def details(self) -> str:
        return self._details


class Server:
    """Fails in these words, one call after another, then answers; its clock runs only while somebody sleeps."""

    def __init__(self, *words: str) -> None:
        self.words = list(words)
        self.now = 0.0

    def method(self, request: str, timeout: float) -> str:
        if self.words:
            raise Failure(self.words.pop(0))
        return f"answer to {request}"

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def asked(self, limit_seconds: float = 10.0) -> str:
        return ask("host:1", self.method, "it", 1.0, Patience(limit_seconds, lambda: self.now, self.sleep))


def test_a_call_waits_for_control_to_start() -> None:
    server = Server(ControlAway.SENTENCE, ControlAway.SENTENCE)
    assert server.asked() == "answer to it"
    assert server.now > 0


def test_control_that_stays_away_is_said_so() -> None:
    server = Server(*[ControlAway.SENTENCE] * 100)
    with pytest.raises(ControlAway, match="control process"):
        server.asked()
    assert server.now <= 10.0


def test_any_other_refusal_is_not_repeated() -> None:
    server = Server("Exceeds maximum queue size")
    with pytest.raises(Unavailable, match="queue"):
        server.asked()
    assert server.now == 0
