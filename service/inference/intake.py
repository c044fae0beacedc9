"""The intake: one thread takes all waiting calls, answers the small ones and queues the inferences."""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from service.batching.entry import Entry
from service.errors import ServiceError, Unavailable
from service.inference import codec
from service.inference.served import Served
from service.inference.validate import read_parameters
from service.metrics import EngineMetrics
from service.routing.router import Router
from service.transport.base import Call, Front
from service.types import DEFAULT_TENANT

_LOG = logging.getLogger(__name__)

MODEL_INFER = "/inference.GRPCInferenceService/ModelInfer"
STOPPING = "GRPC server is shutting down and has stopped accepting new requests."
# Calls taken at once: enough to fill batches of several models, few enough to go on soon.
_MOST = 256
# A servable may stop being READY between being chosen and being held, each time it is rolled over.
_TRIES = 3

# Answers a unary call's message with a message. Raises ServiceError.
Answer = Callable[[bytes], bytes]


class Intake:
    """Between a front and the queues. `answers` maps the full path of every other method to its function."""

    def __init__(
        self,
        front: Front,
        router: Router[Served],
        answers: Mapping[str, Answer],
        metrics: EngineMetrics,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._front = front
        self._router = router
        self._answers = answers
        self._metrics = metrics
        self._clock = clock
        self._stopping = False
        # Held while calls are handled, so that `refuse` finds none halfway through.
        self._handling = threading.Lock()
        self._thread = threading.Thread(target=self._loop, name="intake", daemon=True)

    def start(self) -> None:
        """Starts the thread; the front has been started."""
        self._thread.start()

    def refuse(self) -> None:
        """From the return of this on, every inference is answered with UNAVAILABLE."""
        with self._handling:
            self._stopping = True

    def join(self) -> None:
        """Waits for the thread to end; close the front first."""
        self._thread.join()

    def _loop(self) -> None:
        while (calls := self._front.take_batch(_MOST)) is not None:
            with self._handling:
                self._handle(calls)

    def _handle(self, calls: Sequence[Call]) -> None:
        now_ns = self._clock()
        groups: dict[Served, list[Entry]] = {}
        for call in calls:
            try:
                if call.method == MODEL_INFER:
                    served, entry = self._admit(call, now_ns)
                    groups.setdefault(served, []).append(entry)
                else:
                    call.reply(self._answers[call.method](call.payload))
            except ServiceError as error:
                call.fail(error.status, str(error))
            except Exception:  # noqa: BLE001  The one place where a bug becomes a status: the other calls go on.
                _LOG.exception("a call of %s failed", call.method)
                call.fail(ServiceError.status, "internal error")
        for served, entries in groups.items():
            served.servable.offer(entries)

    def _admit(self, call: Call, now_ns: int) -> tuple[Served, Entry]:
        """Decodes, routes, validates and holds a handle. Raises ServiceError, counted."""
        served: Served | None = None
        try:
            if self._stopping:
                raise Unavailable(STOPPING)
            message = codec.decode(call.payload)
            parameters = read_parameters(message.parameters)
            for _ in range(_TRIES):
                served = self._router.choose(
                    DEFAULT_TENANT, message.model_name, message.model_version, parameters.routing_key
                )
                request = served.validator.check(message)
                if served.servable.acquire():
                    expires_ns = None if parameters.timeout_us is None else now_ns + parameters.timeout_us * 1000
                    return served, Entry(call, request, now_ns, expires_ns, served.deliver)
            raise Unavailable(f"model '{message.model_name}' is being replaced: try again")
        except ServiceError as error:
            if served is None:
                self._metrics.refused(error.status.name)
            else:
                served.servable.recorder.failed(error.status.name, self._clock() - now_ns)
            raise
