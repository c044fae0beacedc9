"""An HTTP server on a port of its own, in a thread of its own."""

import socket
import threading

import uvicorn
from starlette.applications import Starlette

from service.errors import FailedPrecondition


class HttpServer:
    """Binds at once; answers between `start` and `close`."""

    def __init__(self, name: str, app: Starlette, host: str, port: int) -> None:
        """Raises FailedPrecondition when the address cannot be had."""
        self._socket = _bound(name, host, port)
        self._server = uvicorn.Server(
            uvicorn.Config(
                app, loop="asyncio", http="h11", ws="none", lifespan="off", log_config=None, access_log=False,
                server_header=False, timeout_graceful_shutdown=2, limit_concurrency=200,
            )
        )  # fmt: skip
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, name=f"http-{name}", daemon=True
        )

    @property
    def port(self) -> int:
        """The port that it has, also when 0 was asked for."""
        port: int = self._socket.getsockname()[1]
        return port

    def start(self) -> None:
        """Begins to answer."""
        self._socket.listen(128)
        self._thread.start()

    def stop(self) -> None:
        """Begins to end; returns at once. `close` follows."""
        self._server.should_exit = True

    def close(self) -> None:
        """Finishes what it is answering, for two seconds at most, and ends."""
        self.stop()
        if self._thread.ident is not None:
            self._thread.join()
        self._socket.close()


def _bound(name: str, host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except OSError as error:
        bound.close()
        raise FailedPrecondition(f"the {name} port {port} on {host} cannot be had: {error.strerror}") from error
    return bound
