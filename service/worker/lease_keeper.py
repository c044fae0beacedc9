"""Keeps a lease alive while its job runs, and knows whether the job is still wanted."""

import logging
import threading
from types import TracebackType
from typing import Self

from sqlalchemy.exc import SQLAlchemyError

from service.errors import LeaseLost
from service.jobs.lease import Lease
from service.jobs.leases import Leases

_LOG = logging.getLogger(__name__)

_HEARTBEATS_A_LEASE = 4
# How soon a cancelled job is noticed.
_LOOK_SECONDS = 1.0


class LeaseKeeper:
    """A thread that sends heartbeats between `__enter__` and `__exit__`."""

    def __init__(self, leases: Leases, lease: Lease, stopping: threading.Event) -> None:
        """`stopping` is set when the worker itself is to stop."""
        self._leases = leases
        self._lease = lease
        self._stopping = stopping
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)
        self.cancelled = False
        self.lost = False

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._thread.join()

    def interrupted(self) -> bool:
        """Whether the running trial must be ended: cancelled, lost to another worker, or the worker stops."""
        return self.cancelled or self.lost or self._stopping.is_set()

    def _keep(self) -> None:
        period = self._lease.seconds / _HEARTBEATS_A_LEASE
        look = min(_LOOK_SECONDS, period)
        since_heartbeat = 0.0
        while not self._closing.wait(look) and not self.interrupted():
            since_heartbeat += look
            try:
                if since_heartbeat >= period:
                    since_heartbeat = 0.0
                    self._leases.heartbeat(self._lease)
                self.cancelled = self._leases.is_cancelled(self._lease)
            except LeaseLost:
                self.lost = True
            except SQLAlchemyError as error:
                # The lease may run out meanwhile. If somebody takes it, the next look says so.
                _LOG.warning("the registry does not answer: %s", error)
