"""The loop that runs requests together: one thread an instance of a servable."""

import logging
import threading
import time
from collections.abc import Callable, Sequence

from service.backends.base import Backend
from service.batching.entry import Entry
from service.batching.policy import Limits
from service.batching.queue import EntryQueue
from service.batching.stacker import Stacker
from service.errors import ServiceError
from service.metrics import Recorder
from service.types import Array, InferResponse, Timings

_LOG = logging.getLogger(__name__)


class Batcher:
    """Takes from the queue, stacks, runs, answers, until the queue is closed and empty."""

    def __init__(
        self,
        name: str,
        queue: EntryQueue,
        backend: Backend,
        limits: Limits,
        recorder: Recorder,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._queue = queue
        self._backend = backend
        self._limits = limits
        self._recorder = recorder
        self._clock = clock
        self._stacker = Stacker(limits.max_rows)
        self._thread = threading.Thread(target=self._loop, name=f"batcher-{name}", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def join(self, timeout_seconds: float | None = None) -> bool:
        """Waits for the thread to end; close the queue first. False when the time was too short."""
        self._thread.join(timeout_seconds)
        return not self._thread.is_alive()

    def _loop(self) -> None:
        while (entries := self._queue.take(self._limits)) is not None:
            self._serve(entries)

    def _serve(self, entries: list[Entry]) -> None:
        """Answers each of the entries, alone if need be: one that the model cannot take spoils nobody else's answer."""
        taken_ns = self._clock()
        try:
            rows, batch_ns, compute_ns, answers = self._run(entries, taken_ns)
        except Exception as error:  # noqa: BLE001  Whatever a model does, the loop goes on and the caller hears of it.
            if len(entries) > 1:
                for entry in entries:
                    self._serve([entry])
                return
            if not isinstance(error, ServiceError):
                _LOG.exception("the backend raised")
                error = ServiceError("internal error")
            entries[0].deliver(entries[0], error)
            return
        queue_ns: list[int] = []
        for entry, arrays in zip(entries, answers, strict=True):
            waited_ns = taken_ns - entry.arrived_ns
            queue_ns.append(waited_ns)
            entry.deliver(entry, InferResponse(arrays, Timings(waited_ns, batch_ns, compute_ns, rows)))
        done_ns = self._clock()
        self._recorder.batch(
            rows=rows,
            queue_ns=queue_ns,
            batch_ns=batch_ns,
            compute_ns=compute_ns,
            answer_ns=done_ns - taken_ns - batch_ns - compute_ns,
            request_ns=[done_ns - entry.arrived_ns for entry in entries],
        )

    def _run(self, entries: list[Entry], taken_ns: int) -> tuple[int, int, int, list[tuple[Array, ...]]]:
        inputs = self._stacker.stack([entry.request for entry in entries])
        started_ns = self._clock()
        outputs = self._backend.run(inputs)
        ended_ns = self._clock()
        counts = [entry.request.rows for entry in entries]
        rows = sum(counts)
        answers = _split(outputs, counts, rows) if self._limits.max_rows else [tuple(outputs)]
        return rows, started_ns - taken_ns, ended_ns - started_ns, answers


def _split(outputs: Sequence[Array], counts: Sequence[int], rows: int) -> list[tuple[Array, ...]]:
    """Each request's own rows, as views."""
    for output in outputs:
        if output.shape[:1] != (rows,):
            raise ServiceError("the model did not answer with one row for each row of its inputs")
    if len(counts) == 1:
        return [tuple(outputs)]
    answers: list[tuple[Array, ...]] = []
    start = 0
    for count in counts:
        answers.append(tuple(output[start : start + count] for output in outputs))
        start += count
    return answers
