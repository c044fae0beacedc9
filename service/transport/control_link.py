"""Where the native front sends what the engine does not serve: control's socket, or an apology while control is away.

The front is told one path, once, and reports a connection that fails in words of its own. So it gets the path of a
symbolic link, which leads to control's socket while control listens there and to a small server that answers
UNAVAILABLE with a sentence while it does not. The front connects anew when a connection ends, and both do when they go.
"""

import contextlib
import os
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc

from service.errors import ControlAway

# Control that comes back is noticed quickly; one that goes away is noticed by its calls, too.
_AWAY_POLL_SECONDS = 0.1
_PRESENT_POLL_SECONDS = 0.25


def listens(path: Path) -> bool:
    """Whether somebody accepts connections on a Unix socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


class _Apology(grpc.GenericRpcHandler):  # type: ignore[misc]  # grpcio has no types
    """Answers every method with UNAVAILABLE."""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
        del handler_call_details

        def apologise(requests: object, context: grpc.ServicerContext) -> None:
            del requests
            context.abort(grpc.StatusCode.UNAVAILABLE, ControlAway.SENTENCE)

        return grpc.stream_unary_rpc_method_handler(apologise)


class ControlLink:
    """A symbolic link beside control's socket; one thread keeps it right from `start` to `close`."""

    def __init__(self, control: Path, name: str) -> None:
        self._control = control
        self.path = control.with_name(name)
        self._apology_path = control.with_name(f"away-{name}")
        self._apology: grpc.Server | None = None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="control-link", daemon=True)

    def start(self) -> None:
        """Sets the link once, then keeps it right."""
        self._set(listens(self._control))
        self._thread.start()

    def close(self) -> None:
        """Stops watching and removes the link."""
        self._closing.set()
        self._thread.join()
        self._stop_apology()
        self.path.unlink(missing_ok=True)

    def _watch(self) -> None:
        while not self._closing.wait(_PRESENT_POLL_SECONDS if self._apology is None else _AWAY_POLL_SECONDS):
            present = listens(self._control)
            if present == (self._apology is not None):
                self._set(present)

    def _set(self, present: bool) -> None:
        if present:
            self._point_at(self._control)
            # Ends the front's connection to it, so that the next call follows the link to control.
            self._stop_apology()
            return
        self._apology = grpc.server(ThreadPoolExecutor(1, "apology"), handlers=(_Apology(),))
        self._apology.add_insecure_port(f"unix:{self._apology_path}")
        self._apology.start()
        self._point_at(self._apology_path)

    def _point_at(self, target: Path) -> None:
        fresh = self.path.with_name(f"{self.path.name}.new")
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(target.name)
        os.replace(fresh, self.path)

    def _stop_apology(self) -> None:
        if self._apology is not None:
            self._apology.stop(None).wait()
            self._apology = None
            with contextlib.suppress(FileNotFoundError):
                self._apology_path.unlink()
