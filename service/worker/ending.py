"""Writes down how a trial ended: a published variant, or a reason that its owner can act on."""

import errno
import logging
from dataclasses import dataclass

from optimizer.errors import InvalidRecipe, NotApplicable
from optimizer.recipe.base import Stage
from optimizer.recipe.recipe import check_order
from optimizer.recipe.trial import Failed, Studied
from service.errors import AlreadyExists, FailedPrecondition
from service.jobs.additions import Addition
from service.jobs.assignment import Task
from service.jobs.lease import Lease
from service.jobs.states import TrialState
from service.worker.executor import INTERNAL, Outcome
from service.worker.output import plain, without_paths
from service.worker.publication import Claim
from service.worker.trial import Workshop

_LOG = logging.getLogger(__name__)

# What a trial does after its passes.
_MEASURE = "measure"
# Each failed attempt means that another worker published under the name just chosen.
_NAME_ATTEMPTS = 10


@dataclass(frozen=True)
class Ending:
    """The end of one trial. Every method raises LeaseLost when somebody else has the job now."""

    workshop: Workshop
    lease: Lease
    task: Task
    # Stage at which the job's checkpoint enters a recipe.
    start: Stage
    # How far the job has come with it.
    percent: float

    def write_down(self, outcome: Outcome | Claim) -> None:
        """Publishes a result, tells a failure; an interrupted trial stays open for the job's end or its next worker.

        Raises FailedPrecondition when a variant does not answer to the model's signature, OSError.
        """
        if isinstance(outcome, Claim):
            self._publish(outcome)
        elif isinstance(outcome, Studied):
            self._add_finalists(outcome)
        elif isinstance(outcome, Failed):
            reason = reason_of(outcome, {step.use for step in self.task.recipe.steps})
            if outcome.kind == NotApplicable.kind:
                self.skip(reason)
            else:
                self.fail(reason)

    def blame_host(self, error: OSError) -> None:
        """This host could not hold the trial's files."""
        _LOG.warning("trial %d of job %s: %s", self.task.ordinal, self.lease.job_id, error)
        self.fail(host_problem(error))

    def fail(self, reason: str) -> None:
        """The recipe was tried, and there is no variant."""
        self.workshop.leases.end_trial(self.lease, self.task.ordinal, TrialState.FAILED, reason, self.percent)

    def skip(self, reason: str) -> None:
        """The recipe was not tried, or makes no sense here."""
        self.workshop.leases.end_trial(self.lease, self.task.ordinal, TrialState.SKIPPED, reason, self.percent)

    def _add_finalists(self, studied: Studied) -> None:
        if self.task.study is None:
            self.fail("the optimizer answered with a study where a variant was asked for")
            return
        additions = []
        for finalist in studied.finalists:
            try:
                check_order(finalist.recipe, self.start)
            except InvalidRecipe as error:
                self.fail(f"the study proposed a recipe that cannot be tried: {plain(str(error), 300)}")
                return
            additions.append(Addition(finalist.recipe, plain(finalist.why, 500)))
        reason = plain(studied.why, 500) or f"{len(additions)} finalists"
        self.workshop.leases.end_study(self.lease, self.task.ordinal, additions, reason, self.percent)

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


def reason_of(failed: Failed, steps: set[str]) -> str:
    """What the child said, on one line; paths of this host are left out of what was not meant for a reader."""
    message = plain(failed.message) or "no reason given"
    if failed.kind == INTERNAL:
        message = without_paths(message)
    return f"in step {failed.step}: {message}" if failed.step in steps | {_MEASURE} else message


def host_problem(error: OSError) -> str:
    """What its owner should know of an error in handling the trial's files; no names of them."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the worker's disk is full; free some space and optimize again"
    if isinstance(error, FileNotFoundError):
        return "a file of the checkpoint or of the data set is missing on the worker"
    return f"the worker cannot write its files: {error.strerror or 'input/output error'}"
