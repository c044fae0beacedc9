"""One leased job from its first open trial to its last."""

import time
from collections.abc import Callable
from datetime import datetime

from optimizer.recipe.auto import Stop, next_step
from optimizer.recipe.trial import Failed
from service.errors import FailedPrecondition
from service.jobs.additions import Addition
from service.jobs.assignment import Assignment, Task
from service.jobs.lease import Lease
from service.jobs.planning import START_STAGES
from service.jobs.states import has_ended
from service.jobs.views import Happening
from service.worker.ending import Ending
from service.worker.executor import KILLED, Interrupted, Outcome
from service.worker.harvest import Tainted
from service.worker.lease_keeper import LeaseKeeper
from service.worker.output import plain
from service.worker.progress import Course, Place, places
from service.worker.publication import Claim
from service.worker.trial import TrialRun, Workshop

# A child that was killed from outside is tried again, from its last finished step; its third death is its end.
_REPEATS = 2


def out_of_time(assignment: Assignment, now: datetime) -> bool:
    """Whether the job's budget is used up. It counts from the job's first start, whatever happened since."""
    elapsed = (now - assignment.started_at).total_seconds()
    return assignment.budget_seconds > 0 and elapsed >= assignment.budget_seconds


def run_job(workshop: Workshop, lease: Lease, keeper: LeaseKeeper, clock: Callable[[], datetime]) -> None:
    """Runs the trials that have not ended, one after another, until all have or the keeper says stop.

    The list may grow meanwhile, so it is read again before each. Raises LeaseLost when somebody else has the job now.
    """
    started_seconds = time.monotonic()
    share_at_start: float | None = None
    while not keeper.interrupted():
        assignment = workshop.leases.read(lease)
        task = next((task for task in assignment.tasks if not has_ended(task.state)), None)
        has_source = workshop.leases.source(lease) is not None
        if task is None and has_source and assignment.auto and _plan_further(workshop, lease, assignment, clock):
            continue
        if task is None or not (has_source or task.ordinal == 1):
            return
        place = _place(assignment, task)
        share_at_start = place.before if share_at_start is None else share_at_start
        ending = Ending(workshop, lease, task, START_STAGES[assignment.checkpoint_format], 100 * place.of_job(1.0))
        if has_source and out_of_time(assignment, clock()):
            ending.skip(f"not tried: the budget of {assignment.budget_seconds:g} seconds was used up")
        else:
            course = Course(place, started_seconds, share_at_start)
            _run_task(workshop, lease, keeper, assignment, task, course, ending)


def _plan_further(workshop: Workshop, lease: Lease, assignment: Assignment, clock: Callable[[], datetime]) -> bool:
    """Adds what the planner wants tried next; whether there was anything. Says why it stops."""
    left = None
    if assignment.budget_seconds:
        left = assignment.budget_seconds - (clock() - assignment.started_at).total_seconds()
    step = next_step(workshop.leases.results(lease), assignment.objective, left)
    if isinstance(step, Stop):
        workshop.leases.record(lease, Happening("log", percent=100.0, message=step.why))
        return False
    return workshop.leases.append_trials(lease, [Addition(step.recipe, step.why)]) > 0


def _place(assignment: Assignment, task: Task) -> Place:
    return places([len(task.recipe.steps) for task in assignment.tasks])[task.ordinal - 1]


def _run_task(
    workshop: Workshop,
    lease: Lease,
    keeper: LeaseKeeper,
    assignment: Assignment,
    task: Task,
    course: Course,
    ending: Ending,
) -> None:
    repeats = _REPEATS
    while begun := workshop.leases.begin_trial(lease, task.ordinal, workshop.hardware):
        workshop.cache.evict()
        source, baseline = workshop.leases.source(lease), workshop.leases.baseline(lease, task.recipe.name)
        run = TrialRun(workshop, lease, assignment, task, source, begun.variant, baseline)
        try:
            outcome = run.run(course, keeper.interrupted)
            if isinstance(outcome, Interrupted):
                # It stays open, and so does what it goes on from.
                return
            if repeats and was_killed(outcome) and not keeper.interrupted():
                repeats -= 1
                workshop.leases.put_back(lease, task.ordinal, "the trial's process was killed; it is tried again")
                continue
            ending.write_down(outcome)
        except Tainted as error:
            ending.fail(f"the optimizer's result was refused: {plain(str(error), 500)}")
        except FailedPrecondition as error:
            ending.fail(str(error))
        except OSError as error:
            ending.blame_host(error)
        finally:
            run.close()
        break
    workshop.resume.forget(lease.job_id, task.ordinal)


def was_killed(outcome: Outcome | Claim) -> bool:
    """Whether the child was ended by somebody else, as it happens to any process."""
    return isinstance(outcome, Failed) and outcome.kind == KILLED
