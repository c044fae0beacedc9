"""Control: builds its graph once, does all but inference until SIGTERM or SIGINT, and ends from the top down."""

import fcntl
import logging
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import grpc
from prometheus_client import CollectorRegistry, ProcessCollector
from pydantic import ValidationError

from optimizer.artifact.store import DirectoryStore
from service.api.model import ModelServicer
from service.api.optimization import OptimizationServicer
from service.api.server import ApiServer, Servicers
from service.api.traffic import TrafficServicer
from service.api.upload import UploadServicer
from service.api.variant import VariantServicer
from service.errors import FailedPrecondition, ServiceError
from service.fleet.board import Board
from service.fleet.fleet import Fleet
from service.fleet.link import EngineLink
from service.fleet.metrics import FleetCollector
from service.home import Home
from service.http.inference import inference_app
from service.http.metrics import metrics_app
from service.http.server import HttpServer
from service.jobs.queue import JobQueue
from service.registry.database import close, open_registry
from service.registry.models import ModelRecords
from service.registry.serving import ServingRecords
from service.registry.uploads import UploadRecords
from service.registry.variants import VariantRecords
from service.settings import ControlSettings
from service.uploads.chores import Chore, Chores
from service.uploads.collector import collect
from service.uploads.inspection import ChildInspector, Inspector
from service.uploads.receiver import Receiver

_LOG = logging.getLogger(__name__)

_STALLED_EVERY_SECONDS = 5.0
_EXPIRE_EVERY_SECONDS = 60.0
_COLLECT_EVERY_SECONDS = 3600.0
# Calls that are being answered when control is asked to end.
_GRACE_SECONDS = 3.0


def _now() -> datetime:
    return datetime.now(UTC)


class Control:
    """The graph of one control process. `start`, then `stop`, once each, by one thread."""

    def __init__(self, settings: ControlSettings, inspector: Inspector) -> None:
        """Binds ports and opens the registry. Raises FailedPrecondition when one cannot be had."""
        home = Home(settings.home)
        home.create()
        self._sessions = open_registry(home.registry_url)
        store = DirectoryStore(home.blobs)
        uploads = UploadRecords(self._sessions, _now)
        models = ModelRecords(self._sessions, _now)
        variants = VariantRecords(self._sessions, _now)
        self._receiver = Receiver(home.uploads, store, uploads, settings.max_upload_bytes)

        self.board = Board(settings.engines)
        links = [EngineLink(index, home.engine_socket(index), self.board) for index in range(settings.engines)]
        self._fleet = Fleet(ServingRecords(self._sessions), self.board, links, store.location)

        self.stopping = threading.Event()
        upload = UploadServicer(self._receiver)
        self._server = ApiServer(
            home.control_socket,
            Servicers(
                upload=upload,
                model=ModelServicer(models, uploads, store, inspector),
                optimization=OptimizationServicer(JobQueue(self._sessions, _now), self.stopping),
                variant=VariantServicer(models, variants, self.board, store),
                traffic=TrafficServicer(models, variants, self.board, self._fleet.wake),
            ),
        )
        self.board.subscribe(lambda: self._server.health.set_inference(bool(self.board.connected())))
        self._chores = Chores(
            [
                Chore("ending stalled uploads", _STALLED_EVERY_SECONDS, upload.cancel_stalled),
                Chore(
                    "forgetting old uploads",
                    _EXPIRE_EVERY_SECONDS,
                    lambda: self._receiver.expire(_now(), settings.upload_expiry_seconds),
                ),
                Chore("collecting blobs", _COLLECT_EVERY_SECONDS, lambda: collect(store, uploads, _now)),
            ]
        )

        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        registry.register(FleetCollector(self.board, settings.engines))
        # With one engine its samples stay as it gives them.
        sources = [(f'engine="{link.index}"' if settings.engines > 1 else "", link.scrape) for link in links]
        self._channel = grpc.insecure_channel(
            settings.engine_address, options=(("grpc.max_reconnect_backoff_ms", 1000),)
        )
        self._http = [
            HttpServer(
                "HTTP", inference_app(self._channel, settings.engine_address), settings.host, settings.http_port
            ),
            HttpServer(
                "metrics",
                metrics_app(registry, sources, self.board.all_connected),
                settings.host,
                settings.metrics_port,
            ),
        ]

    @property
    def ports(self) -> tuple[int, int]:
        """HTTP and metrics."""
        http, metrics = self._http
        return http.port, metrics.port

    def start(self) -> None:
        """Opens everything, inner things first."""
        finished = self._receiver.recover()
        if finished:
            _LOG.info("finished %d uploads that were verified before the last end", finished)
        self._fleet.start()
        self._server.start()
        for server in self._http:
            server.start()
        self._chores.start()
        _LOG.info("HTTP on port %d, metrics on port %d", *self.ports)

    def stop(self) -> None:
        """Refuses new calls, finishes those that run, and closes everything."""
        self.stopping.set()
        for server in self._http:
            server.stop()
        self._server.stop(_GRACE_SECONDS)
        for server in self._http:
            server.close()
        self._channel.close()
        self._chores.close()
        self._fleet.close()
        close(self._sessions)


def run(settings: ControlSettings) -> None:
    """Serves until SIGTERM or SIGINT. Raises FailedPrecondition when it cannot start.

    For the main thread of a process of its own.
    """
    asked = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: asked.set())
    with _alone(settings):
        control = Control(settings, ChildInspector())
        control.start()
        asked.wait()
        control.stop()


@contextmanager
def _alone(settings: ControlSettings) -> Iterator[None]:
    home = Home(settings.home)
    home.create()
    with (home.run / "control.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise FailedPrecondition(f"a control process of {settings.home} is already running") from None
        yield


def main() -> None:
    """`python -m service.control '<ControlSettings JSON>'`."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s control %(message)s")
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    try:
        run(ControlSettings.model_validate_json(sys.argv[1] if len(sys.argv) > 1 else "{}"))
    except (ServiceError, ValidationError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
