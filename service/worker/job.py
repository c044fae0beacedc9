"""One leased job from its first open trial to its end."""

import errno
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from optimizer.errors import NotApplicable
from optimizer.recipe.trial import Failed
from service.errors import AlreadyExists, FailedPrecondition
from service.jobs.assignment import Assignment, Task
from service.jobs.leases import Lease
from service.jobs.states import TrialState, has_ended
from service.worker.executor import INTERNAL, Outcome
from service.worker.harvest import Tainted
from service.worker.lease_keeper import LeaseKeeper
from service.worker.output import plain, without_paths
from service.worker.progress import Course, places
from service.worker.publication import Claim
from service.worker.trial import TrialRun, Workshop

_LOG = logging.getLogger(__name__)

# What a trial does after its passes.
_MEASURE = "measure"
# Each failed attempt means that another worker published under the name just chosen.
_NAME_ATTEMPTS = 10


def out_of_time(assignment: Assignment, now: datetime) -> bool:
    """Whether the job's budget is used up. It counts from the job's first start, whatever happened since."""
    elapsed = (now - assignment.started_at).total_seconds()
    return assignment.budget_seconds > 0 and elapsed >= assignment.budget_seconds


def run_job(workshop: Workshop, lease: Lease, keeper: LeaseKeeper, clock: Callable[[], datetime]) -> None:
    """Runs the trials that have not ended, one after another, until all have or the keeper says stop.

    Raises LeaseLost when somebody else has the job now.
    """
    assignment = workshop.leases.read(lease)
    positions = places([len(task.recipe.steps) for task in assignment.tasks])
    started_seconds = time.monotonic()
    share_at_start: float | None = None
    for task, place in zip(assignment.tasks, positions, strict=True):
        if has_ended(task.state):
            continue
        share_at_start = place.before if share_at_start is None else share_at_start
        source = workshop.leases.source(lease)
        if keeper.interrupted() or (source is None and task.ordinal != 1):
            break
        ending = _Ending(workshop, lease, task, 100 * place.of_job(1.0))
        if source is not None and out_of_time(assignment, clock()):
            ending.skip(f"not tried: the budget of {assignment.budget_seconds:g} seconds was used up")
            continue
        begun = workshop.leases.begin_trial(lease, task.ordinal, workshop.hardware)
        if begun is None:
            continue
        workshop.cache.evict()
        run = TrialRun(workshop, lease, assignment, task, source, begun.variant)
        try:
            ending.write_down(run.run(Course(place, started_seconds, share_at_start), keeper.interrupted))
        except Tainted as error:
            ending.fail(f"the optimizer's result was refused: {plain(str(error), 500)}")
        except FailedPrecondition as error:
            ending.fail(str(error))
        except OSError as error:
            _LOG.warning("trial %d of job %s: %s", task.ordinal, lease.job_id, error)
            ending.fail(_host_problem(error))
        finally:
            run.close()


@dataclass(frozen=True)
class _Ending:
    """Writes down how one trial ended. `percent` is how far the job has come then."""

    workshop: Workshop
    lease: Lease
    task: Task
    percent: float

    def write_down(self, outcome: Outcome | Claim) -> None:
        """Publishes a result; an interrupted trial stays as it is. Raises FailedPrecondition, OSError, LeaseLost."""
        if isinstance(outcome, Claim):
            self._publish(outcome)
        elif isinstance(outcome, Failed):
            reason = _reason(outcome, self.task)
            if outcome.kind == NotApplicable.kind:
                self.skip(reason)
            else:
                self.fail(reason)

    def fail(self, reason: str) -> None:
        """The recipe was tried, and there is no variant."""
        self.workshop.leases.end_trial(self.lease, self.task.ordinal, TrialState.FAILED, reason, self.percent)

    def skip(self, reason: str) -> None:
        """The recipe was not tried, or makes no sense here."""
        self.workshop.leases.end_trial(self.lease, self.task.ordinal, TrialState.SKIPPED, reason, self.percent)

    def _publish(self, claim: Claim) -> None:
        leases = self.workshop.leases
        name = claim.manifest.name
        for _ in range(_NAME_ATTEMPTS):
            # Blobs first: a row never refers to what is not there.
            manifest, files = claim.store_under(name, self.workshop.store)
            try:
                leases.publish(self.lease, self.task.ordinal, manifest, files, self.percent)
            except AlreadyExists:
                name = leases.free_name(self.lease, self.task.recipe.name)
            else:
                return
        raise FailedPrecondition(f"no name was free for the variant of recipe {self.task.recipe.name!r}")


def _reason(failed: Failed, task: Task) -> str:
    message = plain(failed.message) or "no reason given"
    if failed.kind == INTERNAL:
        message = without_paths(message)
    steps = {step.use for step in task.recipe.steps} | {_MEASURE}
    return f"in step {failed.step}: {message}" if failed.step in steps else message


def _host_problem(error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the worker's disk is full; free some space and optimize again"
    if isinstance(error, FileNotFoundError):
        return "a file of the checkpoint or of the data set is missing on the worker"
    return f"the worker cannot write its files: {error.strerror or 'input/output error'}"
