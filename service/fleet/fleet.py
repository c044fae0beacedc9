"""Keeps every engine of this host at what the registry says: looks often, pushes what differs, forgets nothing."""

import logging
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from service.fleet.board import Board
from service.fleet.desired import desired_state, next_version
from service.fleet.link import EngineLink
from service.registry.serving import Mark, ServingRecords
from service.wire.stillroom.internal.v1 import engine_service_pb2 as wire

_LOG = logging.getLogger(__name__)

POLL_SECONDS = 0.2


class Fleet:
    """One thread that reconciles. Engines may be absent or start anew, the registry locked: it goes on with the rest.

    It asks only "what is, what should be", so that nothing depends on having seen every change.
    """

    def __init__(
        self,
        records: ServingRecords,
        board: Board,
        links: Sequence[EngineLink],
        location: Callable[[str], Path],
        poll_seconds: float = POLL_SECONDS,
    ) -> None:
        self._records = records
        self._board = board
        self._links = links
        self._location = location
        self._poll_seconds = poll_seconds
        self._mark: Mark | None = None
        self._desired = wire.DesiredState()
        # Engine index to the run of the engine, and the version, that it was told last.
        self._told: dict[int, tuple[str, int]] = {}
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fleet", daemon=True)

    def start(self) -> None:
        """Begins to listen to the engines and to reconcile."""
        for link in self._links:
            link.start()
        self._thread.start()

    def wake(self) -> None:
        """Says that the registry has just changed."""
        self._wake.set()

    def close(self) -> None:
        """Stops, whether it was started or not. The engines keep what they have."""
        self._stopping.set()
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join()
        for link in self._links:
            link.close()

    def reconcile(self) -> None:
        """One look and what follows from it, by one thread at a time. Raises SQLAlchemyError when it cannot look."""
        engines = self._board.connected()
        mark = self._records.mark()
        if mark != self._mark:
            fresh = desired_state(self._records.snapshot(), self._location)
            fresh.version = self._desired.version
            if self._mark is None or fresh != self._desired:
                fresh.version = next_version(fresh.version, (state.desired_version for state in engines.values()))
                self._desired = fresh
            self._mark = mark
        for link in self._links:
            if link.index in engines:
                self._tell(link, engines[link.index])

    def _tell(self, link: EngineLink, state: wire.EngineState) -> None:
        if self._told.get(link.index) == (state.engine_id, self._desired.version):
            return
        if state.desired_version >= self._desired.version:
            # It was told by a control process before this one, which counted further.
            self._desired.version = next_version(self._desired.version, [state.desired_version])
        if link.apply(self._desired):
            self._told[link.index] = (state.engine_id, self._desired.version)

    def _run(self) -> None:
        troubled = False
        while not self._stopping.is_set():
            try:
                self.reconcile()
                troubled = False
            except (SQLAlchemyError, KeyError, ValueError) as error:
                # The last two: a row that this version does not understand.
                if not troubled:
                    _LOG.warning("the registry cannot be read now; engines keep what they have: %r", error)
                troubled = True
            self._wake.wait(self._poll_seconds)
            self._wake.clear()
