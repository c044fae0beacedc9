"""The engine: builds the graph once, answers inference until SIGTERM or SIGINT, and drains from the top down."""

import fcntl
import logging
import os
import signal
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import onnxruntime
from prometheus_client import CollectorRegistry

from optimizer.artifact.session import SessionSpec, host_default, usable_cores
from service.backends.base import Backend
from service.errors import FailedPrecondition, InvalidArgument, ServiceError
from service.home import Home
from service.inference.catalogue import Catalogue
from service.inference.engine_service import Changes, EngineServicer, serve
from service.inference.intake import MODEL_INFER, Intake
from service.inference.roster import Roster
from service.metrics import EngineMetrics
from service.models.desired import restore
from service.models.loader import Loader
from service.models.servable import Description, Servable
from service.settings import EngineSettings
from service.transport.base import FrontOptions
from service.transport.choice import open_front
from service.version import stillroom_version

_LOG = logging.getLogger(__name__)

# What is still running after draining gets this long before the process ends anyway.
_LAST_SECONDS = 1.0


class Engine:
    """The graph of one engine process. `start`, then `stop`, once each, by one thread."""

    def __init__(self, settings: EngineSettings) -> None:
        """Binds the port. Raises FailedPrecondition when it cannot be had."""
        self._settings = settings
        self._home = Home(settings.home)
        self._home.create()
        self._changes = Changes()
        default = host_default()
        if settings.intra_op_threads is not None:
            default = default.model_copy(update={"intra_op_threads": settings.intra_op_threads})
        self._roster = Roster(
            engine_id=uuid.uuid4().hex,
            loader=Loader(lambda description: _open_backend(description, settings), settings.queue_delay_us * 1000),
            make=lambda description: Servable(description, settings.max_batch, settings.queue_capacity),
            default_session=default,
            changed=self._changes.notify,
        )
        self._stopping = False
        catalogue = Catalogue(
            stillroom_version(),
            self._roster.router,
            self._roster.servables,
            lambda: self._roster.settled and not self._stopping,
            settings.queue_capacity,
            settings.queue_delay_us,
        )
        answers = catalogue.answers()
        self._front = open_front(
            settings.transport,
            FrontOptions(
                methods=(MODEL_INFER, *answers),
                host=settings.host,
                port=settings.grpc_port,
                fallback=self._home.control_socket,
                max_message_bytes=settings.max_message_bytes,
                io_threads=settings.io_threads,
            ),
        )
        registry = CollectorRegistry()
        build = {
            "version": stillroom_version(),
            "transport": type(self._front).__name__,
            "onnxruntime": onnxruntime.__version__,
        }
        self._metrics = EngineMetrics(registry, build, self._roster.samples)
        self._intake = Intake(self._front, self._roster.router, answers, self._metrics)
        self._servicer = EngineServicer(self._roster, self._changes, registry, self._home.engine_table)
        _LOG.info(
            "threads on %d cores: %d for the network, 1 for the intake, 1 a variant to batch, %d in each run",
            usable_cores(),
            settings.io_threads,
            default.intra_op_threads,
        )

    @property
    def port(self) -> int:
        """The port that answers inference."""
        return self._front.port

    def start(self) -> None:
        """Opens the port, then loads what was last wanted. Raises FailedPrecondition."""
        if (last := restore(self._home.engine_table)) is not None:
            try:
                self._roster.apply(last)
            except InvalidArgument:
                _LOG.exception("the last desired state cannot be used; control will send a new one")
        self._front.start()
        self._intake.start()
        self._service = serve(self._servicer, self._home.engine_socket(self._settings.index))
        self._roster.start()
        _LOG.info("answering inference on %s port %d", self._settings.host, self.port)

    def stop(self) -> bool:
        """Refuses new requests, finishes those that were taken, and ends everything.

        False when a run would not end in time: its thread is still inside onnxruntime.
        """
        deadline = time.monotonic() + self._settings.drain_seconds
        self._stopping = True
        self._intake.refuse()
        servables = self._roster.servables()
        drained = [servable.wait_idle(max(0.0, deadline - time.monotonic())) for servable in servables]
        if not all(drained):
            _LOG.warning("requests were still running after %g s", self._settings.drain_seconds)
        self._servicer.stop()
        self._service.stop(None).wait()
        self._front.close()
        self._intake.join()
        return self._roster.stop(_LAST_SECONDS)


def run(settings: EngineSettings) -> None:
    """Serves until SIGTERM or SIGINT, then drains and returns. Raises FailedPrecondition when it cannot start.

    For the main thread of a process of its own.
    """
    asked = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: asked.set())
    with _alone(settings):
        engine = Engine(settings)
        engine.start()
        asked.wait()
        _LOG.info("draining for up to %g s", settings.drain_seconds)
        if not engine.stop():
            # The interpreter cannot be taken down in order under a thread that computes outside it.
            logging.shutdown()
            os._exit(0)


@contextmanager
def _alone(settings: EngineSettings) -> Iterator[None]:
    """Holds the lock of this engine's number: two would take each other's socket."""
    home = Home(settings.home)
    home.create()
    with (home.run / f"engine-{settings.index}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise FailedPrecondition(f"engine {settings.index} of {settings.home} is already running") from None
        yield


def _open_backend(description: Description, settings: EngineSettings) -> Backend:
    from service.backends.onnx import OnnxBackend

    spec: SessionSpec = description.session
    if settings.intra_op_threads is not None:
        spec = spec.model_copy(update={"intra_op_threads": settings.intra_op_threads})
    return OnnxBackend(description.path, spec, description.signature)


def main() -> None:
    """`python -m service.engine '<EngineSettings JSON>'`."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s engine %(message)s")
    try:
        run(EngineSettings.model_validate_json(sys.argv[1] if len(sys.argv) > 1 else "{}"))
    except ServiceError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
