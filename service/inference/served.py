"""A READY variant as the intake sees it: validates for it, queues for it, and writes its answers."""

import logging
import time
from collections.abc import Callable

from google.protobuf.message import EncodeError

from service.batching.entry import Entry
from service.errors import ServiceError
from service.inference import codec
from service.inference.validate import Validator
from service.models.servable import Servable
from service.types import InferResponse

_LOG = logging.getLogger(__name__)


class Served:
    """The target of a route. `admit` is for the intake's thread; `deliver` for any."""

    def __init__(self, servable: Servable, clock: Callable[[], int] = time.monotonic_ns) -> None:
        self.servable = servable
        description = servable.description
        self._model = description.model
        self._variant = description.variant
        self._specs = description.signature.outputs
        self._recorder = servable.recorder
        self._clock = clock
        self.validator = Validator(description.model, description.signature, servable.max_batch)

    def deliver(self, entry: Entry, outcome: InferResponse | ServiceError) -> None:
        """Answers an entry's call, counts it if it failed, and gives its handle back."""
        if isinstance(outcome, InferResponse):
            try:
                entry.call.reply(
                    codec.encode(
                        outcome, self._model, self._variant, entry.request.id, self._specs, entry.request.outputs
                    )
                )
            except (EncodeError, ValueError, TypeError, MemoryError):
                # Above two gigabytes, say: there is no such message.
                _LOG.exception("an answer of %s cannot be written", self.servable.description.name)
                outcome = ServiceError("the answer cannot be written as a message")
        if isinstance(outcome, ServiceError):
            self._recorder.failed(outcome.status.name, self._clock() - entry.arrived_ns)
            entry.call.fail(outcome.status, str(outcome))
        self.servable.release()
