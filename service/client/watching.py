"""A job's events as one unbroken series, whatever happens to the connection."""

from collections.abc import Callable, Iterator

from service.client import decoding
from service.client.connection import translated
from service.client.patience import Patience
from service.client.resources import JobEvent
from service.errors import DeadlineExceeded, Unavailable
from service.wire.stillroom.v1 import optimization_service_pb2 as pb2
from service.wire.stillroom.v1.optimization_service_pb2_grpc import OptimizationServiceStub

# Age at which a stream is opened anew: a peer may vanish without a word.
STREAM_SECONDS = 300.0


def watch(
    stub: OptimizationServiceStub,
    server: str,
    job_id: str,
    after_sequence: int,
    timeout_seconds: float,
    patience: Callable[[], Patience],
) -> Iterator[JobEvent]:
    """Yields each event after `after_sequence` once and in order; ends when the job has ended.

    Goes on after lost connections and server restarts from the last event that came. Raises NotFound for an unknown
    job, and the last connection error when the patience is spent.
    """
    patient = patience()
    while True:
        try:
            for event in _stream(stub, server, job_id, after_sequence):
                patient.progressed()
                # A server that restarted may send again what it is not sure that we have.
                if event.sequence > after_sequence:
                    after_sequence = event.sequence
                    yield event
            with translated(server):
                found = stub.GetOptimization(pb2.GetOptimizationRequest(job_id=job_id), timeout=timeout_seconds)
            if decoding.job_state(found.job.state).ended:
                return
            # The stream was closed but the job goes on: it was quiet for long, or the server is being replaced.
            patient.progressed()
            raise Unavailable(f"{server} stopped telling about job {job_id}")
        except (Unavailable, DeadlineExceeded) as error:
            patient.wait(error)


def _stream(stub: OptimizationServiceStub, server: str, job_id: str, after_sequence: int) -> Iterator[JobEvent]:
    """One stream of events, until it is closed by either side or has grown old."""
    request = pb2.WatchOptimizationRequest(job_id=job_id, after_sequence=after_sequence)
    try:
        with translated(server):
            call = stub.WatchOptimization(request, timeout=STREAM_SECONDS)
            try:
                yield from map(decoding.event, call)
            finally:
                call.cancel()
    except DeadlineExceeded:
        return
