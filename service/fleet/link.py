"""The connection to one engine over its Unix socket: hears its state, tells it what to serve, asks for its metrics."""

import logging
import threading
from pathlib import Path

import grpc

from service.errors import Unavailable
from service.fleet.board import Board
from service.wire.stillroom.internal.v1 import engine_service_pb2 as wire
from service.wire.stillroom.internal.v1 import engine_service_pb2_grpc as wire_grpc

_LOG = logging.getLogger(__name__)

_OPTIONS = (
    # The engine may come, go and come again: try often.
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 50),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.max_receive_message_length", -1),
    # Each link owns its connection.
    ("grpc.use_local_subchannel_pool", 1),
)
_CALL_SECONDS = 5.0


class EngineLink:
    """One engine. `start` begins to listen in a thread of its own; `apply` and `scrape` may be called by any thread."""

    def __init__(self, index: int, socket: Path, board: Board) -> None:
        self.index = index
        self._board = board
        self._channel = grpc.insecure_channel(f"unix:{socket}", options=_OPTIONS)
        self._stub = wire_grpc.EngineServiceStub(self._channel)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._listen, name=f"engine-{index}-watch", daemon=True)

    def start(self) -> None:
        """Begins to listen."""
        self._thread.start()

    def close(self) -> None:
        """Hangs up, whether it was started or not."""
        self._stopping.set()
        self._channel.close()
        if self._thread.ident is not None:
            self._thread.join()

    def apply(self, desired: wire.DesiredState) -> bool:
        """Tells the engine what to serve. False when it cannot be reached now."""
        try:
            reply = self._stub.Apply(wire.ApplyRequest(desired=desired), timeout=_CALL_SECONDS)
        except (grpc.RpcError, ValueError) as error:  # ValueError: the channel was closed.
            _LOG.info("engine %d did not take its desired state: %s", self.index, _why(error))
            return False
        self._board.update(self.index, reply.state)
        return True

    def scrape(self) -> bytes:
        """The engine's metrics as Prometheus text. Raises Unavailable."""
        try:
            text: bytes = self._stub.Scrape(wire.ScrapeRequest(), timeout=_CALL_SECONDS).text
        except (grpc.RpcError, ValueError) as error:
            raise Unavailable(f"engine {self.index} cannot be reached") from error
        return text

    def _listen(self) -> None:
        while not self._stopping.is_set():
            try:
                for message in self._stub.Watch(wire.WatchRequest(), wait_for_ready=True):
                    self._board.update(self.index, message.state)
            except (grpc.RpcError, ValueError) as error:
                if not self._stopping.is_set():
                    _LOG.info("engine %d cannot be heard: %s", self.index, _why(error))
            self._board.disconnected(self.index)
            # Not at once again: an engine that refuses would be asked without end.
            self._stopping.wait(0.1)


def _why(error: Exception) -> str:
    return error.details() or error.code().name if isinstance(error, grpc.Call) else str(error)
