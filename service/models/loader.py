"""Brings one variant from NEW to READY: digest, session, parity, warm-up, batch size."""

import logging
import time
from collections.abc import Callable
from contextlib import ExitStack

from optimizer.artifact import digest
from optimizer.artifact.golden import read as read_golden
from optimizer.errors import InvalidCheckpoint
from service.backends.base import Backend
from service.batching.policy import Limits
from service.errors import FailedPrecondition, ServiceError
from service.models import warmup
from service.models.servable import Description, Servable, State

_LOG = logging.getLogger(__name__)

# Opens the model that a description names. Raises ServiceError.
OpenBackend = Callable[[Description], Backend]


class Loader:
    """For one thread. Whatever goes wrong ends in FAILED with a reason; nothing is raised."""

    def __init__(self, open_backend: OpenBackend, delay_ns: int = 0, instances: int = 1) -> None:
        self._open_backend = open_backend
        self._delay_ns = delay_ns
        self._instances = instances

    def load(self, servable: Servable) -> None:
        """Loads a servable that is LOADING."""
        description = servable.description
        began = time.monotonic()
        try:
            backend, curve = self._prepare(servable)
        except (ServiceError, InvalidCheckpoint) as error:
            servable.move(State.FAILED, str(error))
        except MemoryError:
            servable.move(State.FAILED, "there is not enough memory to load it")
        except (ValueError, TypeError, LookupError, ArithmeticError):
            # Golden arrays or outputs of a shape that nothing foresaw: one variant's fault, not the engine's end.
            _LOG.exception("%s cannot be prepared", description.name)
            servable.move(State.FAILED, "its outputs are not of the form that its signature promises")
        else:
            most = warmup.best_batch(curve) if servable.max_batch else 0
            servable.open(backend, Limits(most, self._delay_ns), self._instances)
            _LOG.info(
                "%s is ready after %.2f s; it runs up to %d rows together (microseconds a row: %s)",
                description.name,
                time.monotonic() - began,
                max(most, 1),
                warmup.describe(curve),
            )
            return
        _LOG.error("%s cannot be loaded: %s", description.name, servable.reason)

    def _prepare(self, servable: Servable) -> tuple[Backend, dict[int, float]]:
        description = servable.description
        try:
            found = digest.of_file(description.path)
        except OSError as error:
            raise FailedPrecondition("its model file cannot be read") from error
        if found != description.digest:
            raise FailedPrecondition("its model file is not the one that was published: another sha256")
        backend = self._open_backend(description)
        with ExitStack() as undo:
            undo.callback(backend.close)
            signature = description.signature
            golden = None if description.golden_path is None else read_golden(description.golden_path)
            if golden is not None:
                warmup.check_parity(backend, signature, golden, max(servable.max_batch, 1))

            def prepare(rows: int) -> Callable[[], object]:
                inputs = warmup.sample(signature, golden, rows)
                return lambda: backend.run(inputs)

            curve = warmup.seconds_by_batch(prepare, max(servable.max_batch, 1))
            undo.pop_all()
        return backend, curve
