"""The supervisor: starts engine, control and worker, restarts what crashes, and stops them from the top down."""

import logging
import selectors
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec

from service.errors import FailedPrecondition
from service.home import Home
from service.settings import ControlSettings, EngineSettings, WorkerSettings
from service.supervision.child import Child, Role, describe_end
from service.supervision.lock import held
from service.supervision.ports import PATIENCE_SECONDS, WantedPort, authority, choose_ports, is_answering, reachable
from service.version import stillroom_version

_LOG = logging.getLogger(__name__)

_CONTROL_STOP_SECONDS = 10.0
_WORKER_STOP_SECONDS = 20.0
# Beyond the time that the engine gives to requests that still run.
_ENGINE_STOP_SECONDS = 5.0
_POLL_SECONDS = 0.05


def run(engine: EngineSettings, control: ControlSettings, worker: WorkerSettings | None) -> None:
    """Serves until SIGTERM or SIGINT, then stops everything in order; a second signal stops it at once.

    For the main thread of a process that has no other. Ports given as 0 are chosen here. Raises FailedPrecondition
    when a port is taken, when another supervisor has the home, or when a role cannot start.
    """
    began = time.monotonic()
    home = Home(engine.home)
    home.create()
    with _alone(home):
        engine, control = _with_ports(engine, control)
        roles = [
            _role("engine", engine.model_dump_json(), engine.drain_seconds + _ENGINE_STOP_SECONDS),
            _role("control", control.model_dump_json(), _CONTROL_STOP_SECONDS),
        ]
        if worker is not None:
            roles.append(_role("worker", worker.model_dump_json(), _WORKER_STOP_SECONDS, after_live=True))

        def is_live() -> bool:
            return is_answering(engine.host, engine.grpc_port) and is_answering(control.host, control.metrics_port)

        def announce() -> None:
            print(start_block(engine, control, worker, time.monotonic() - began), flush=True)

        Supervisor(roles, is_live, announce).run()


class Supervisor:
    """The loop over the children, in the order in which they are started; they are stopped in the opposite order."""

    def __init__(self, roles: Sequence[Role], is_live: Callable[[], bool], announce: Callable[[], None]) -> None:
        """`announce` is called once, as soon as `is_live`; until then a child that ends is no crash but a failure."""
        self._children = [Child(role) for role in roles]
        self._is_live = is_live
        self._announce = announce
        self._announced = False
        # Child to the time from which it may be started again.
        self._restarts: dict[Child, float] = {}
        self._signals = 0

    def run(self) -> None:
        """Returns when everything has been stopped. Raises FailedPrecondition when a child cannot start at all."""
        with _waking_up() as wait, self._counting_signals():
            try:
                for child in self._children:
                    if not child.role.after_live:
                        child.start()
                while not self._signals:
                    self._look()
                    wait(self._patience())
            finally:
                self._stop(wait)

    def _look(self) -> None:
        now = time.monotonic()
        for child in self._children:
            status = child.ended()
            if status is not None:
                if not self._announced:
                    raise FailedPrecondition(f"the {child.role.name} {describe_end(status)} before the server was live")
                pause = child.pause_after_crash()
                _LOG.error("the %s %s; it is started again in %.1f s", child.role.name, describe_end(status), pause)
                self._restarts[child] = now + pause
        for child in [child for child, due in self._restarts.items() if due <= now]:
            del self._restarts[child]
            child.start()
        if not self._announced and self._is_live():
            self._announced = True
            self._announce()
            for child in self._children:
                if child.role.after_live:
                    child.start()

    def _patience(self) -> float | None:
        """How long nothing needs to be done unless a signal comes; None: for ever."""
        if not self._announced:
            return _POLL_SECONDS
        return max(0.0, min(self._restarts.values()) - time.monotonic()) if self._restarts else None

    def _stop(self, wait: Callable[[float | None], None]) -> None:
        for child in reversed(self._children):
            child.terminate()
            deadline = time.monotonic() + child.role.stop_seconds
            while child.pid is not None and child.ended() is None and self._signals < 2:
                left = deadline - time.monotonic()
                if left <= 0:
                    _LOG.error("the %s did not end within %g s", child.role.name, child.role.stop_seconds)
                    break
                wait(left)
            child.kill()

    @contextmanager
    def _counting_signals(self) -> Iterator[None]:
        def count(_number: int, _frame: object) -> None:
            self._signals += 1

        before = {number: signal.signal(number, count) for number in (signal.SIGTERM, signal.SIGINT)}
        # Only so that the end of a child wakes the loop up.
        before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def start_block(engine: EngineSettings, control: ControlSettings, worker: WorkerSettings | None, seconds: float) -> str:
    """What a person reads when the server is live."""
    native = engine.transport != "grpcio" and find_spec("pygrpc_native") is not None
    http = authority(reachable(control.host), control.http_port)
    metrics = authority(reachable(control.host), control.metrics_port)
    lines = [
        f"Stillroom {stillroom_version()} is live after {seconds:.1f} s",
        f"  gRPC       {authority(engine.host, engine.grpc_port)}",
        f"  HTTP       http://{http}/v2",
        f"  metrics    http://{metrics}/metrics",
        f"  home       {engine.home.resolve()}",
        f"  transport  {'native' if native else 'grpcio'}",
        f"  worker     {'none' if worker is None else f'sandbox: {worker.sandbox}'}",
    ]
    if engine.insecure or control.insecure:
        lines.append("  INSECURE   whoever reaches these addresses may ask for anything")
    return "\n".join(lines)


def _role(name: str, settings: str, stop_seconds: float, *, after_live: bool = False) -> Role:
    return Role(name, (sys.executable, "-m", f"service.{name}", settings), stop_seconds, after_live)


def _with_ports(engine: EngineSettings, control: ControlSettings) -> tuple[EngineSettings, ControlSettings]:
    grpc_port, http_port, metrics_port = choose_ports(
        [
            WantedPort("gRPC", "--grpc-port", engine.host, engine.grpc_port),
            WantedPort("HTTP", "--http-port", control.host, control.http_port),
            WantedPort("metrics", "--metrics-port", control.host, control.metrics_port),
        ]
    )
    address = authority(reachable(engine.host), grpc_port)
    return (
        engine.model_copy(update={"grpc_port": grpc_port}),
        control.model_copy(update={"http_port": http_port, "metrics_port": metrics_port, "engine_address": address}),
    )


@contextmanager
def _alone(home: Home) -> Iterator[None]:
    with held(home.root / "supervisor.lock", f"a server is already running on {home.root} (process {{holder}})"):
        # The roles of a supervisor that was killed a moment ago die with it, but not before it.
        for role in ("engine-0", "control"):
            with held(
                home.run / f"{role}.lock",
                f"the {role} process of another server still runs on {home.root} (process {{holder}})",
                PATIENCE_SECONDS,
            ):
                pass
        yield


@contextmanager
def _waking_up() -> Iterator[Callable[[float | None], None]]:
    """Gives a function that waits for a signal, or for so many seconds."""
    reader, writer = socket.socketpair()
    reader.setblocking(False)
    writer.setblocking(False)
    with reader, writer, selectors.DefaultSelector() as selector:
        selector.register(reader, selectors.EVENT_READ)
        before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)

        def wait(seconds: float | None) -> None:
            if selector.select(seconds):
                reader.recv(4096)

        try:
            yield wait
        finally:
            signal.set_wakeup_fd(before)
