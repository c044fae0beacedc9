"""The worker's loop: take a job, run it, finish it or give it back; go on until told to stop."""

import contextlib
import importlib.util
import logging
import signal
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

import psutil
from sqlalchemy.exc import SQLAlchemyError

from optimizer.artifact.hardware import fingerprint
from optimizer.artifact.session import host_default
from optimizer.artifact.store import DirectoryStore
from service.errors import LeaseLost
from service.home import Home
from service.jobs.lease import Lease
from service.jobs.leases import Leases
from service.registry.database import open_registry
from service.settings import WorkerSettings
from service.uploads.inspection import ChildInspector
from service.worker.executor import LocalExecutor, optimizer_command
from service.worker.job import run_job
from service.worker.lease_keeper import LeaseKeeper
from service.worker.presence import Presence
from service.worker.resume_store import ResumeStore
from service.worker.step_cache import StepCache
from service.worker.trial import Workshop
from service.worker.watchdog import Limits

_LOG = logging.getLogger(__name__)

_NO_OPTIMIZER = "waiting for a worker that has the optimizer: pip install 'stillroom[optimizer]' where a worker runs"
_CGROUP_MEMORY = Path("/sys/fs/cgroup/memory.max")


def run(settings: WorkerSettings) -> None:
    """Works until SIGTERM or SIGINT. Called from the main thread; may be killed at any instant.

    Without the optimizer's libraries it stays up and leaves the jobs in the queue for another worker, telling
    their watchers what is missing.
    """
    home = Home(settings.home)
    home.create()
    leases = Leases(open_registry(home.registry_url), utc_now)
    stopping = threading.Event()
    _stop_on_signals(stopping)
    able = settings.optimizer_command is not None or importlib.util.find_spec("torch") is not None
    if not able:
        _LOG.warning("the optimizer is not installed here; jobs are left in the queue")
    home.lease.touch(mode=0o600)
    presence = Presence(home.scratch)
    try:
        workshop = _workshop(settings, home, leases, presence.directory)
        while not stopping.is_set():
            try:
                presence.bury_dead(leases.abandon)
                workshop.resume.collect(leases.is_open)
                if not able:
                    leases.explain_waiting(_NO_OPTIMIZER)
                elif lease := leases.take(presence.owner, settings.lease_seconds):
                    _work(workshop, lease, stopping, utc_now)
                    continue
            except SQLAlchemyError as error:
                _LOG.warning("the registry does not answer: %s", error)
            stopping.wait(settings.poll_seconds)
    finally:
        presence.leave()


def utc_now() -> datetime:
    """The present, aware."""
    return datetime.now(UTC)


def memory_limit_bytes(asked: int | None, host_bytes: int, cgroup: Path = _CGROUP_MEMORY) -> int:
    """What a trial may hold in memory: what was asked for, or three quarters of the host's (or its cgroup's)."""
    if asked is not None:
        return asked
    # No cgroup, or "max".
    with contextlib.suppress(OSError, ValueError):
        host_bytes = min(host_bytes, int(cgroup.read_text()))
    return host_bytes * 3 // 4


def _workshop(settings: WorkerSettings, home: Home, leases: Leases, directory: Path) -> Workshop:
    limits = Limits(
        memory_bytes=memory_limit_bytes(settings.memory_limit_bytes, psutil.virtual_memory().total),
        wall_seconds=settings.trial_timeout_seconds,
        scratch_bytes=settings.scratch_limit_bytes,
    )
    command = settings.optimizer_command or optimizer_command()
    return Workshop(
        leases=leases,
        store=DirectoryStore(home.blobs.resolve()),
        cache=StepCache(home.cache.resolve(), settings.cache_limit_bytes),
        resume=ResumeStore(home.resume.resolve()),
        studies=home.studies.resolve(),
        executor=LocalExecutor(command, limits, settings.sandbox == "require"),
        inspector=ChildInspector(),
        hardware=fingerprint(),
        session=host_default(),
        machine_lease=home.lease,
        directory=directory.resolve(),
        max_bytes=settings.scratch_limit_bytes,
    )


def _work(workshop: Workshop, lease: Lease, stopping: threading.Event, clock: Callable[[], datetime]) -> None:
    _LOG.info("job %s: taken", lease.job_id)
    try:
        with LeaseKeeper(workshop.leases, lease, stopping) as keeper:
            run_job(workshop, lease, keeper, clock)
            if keeper.lost:
                raise LeaseLost(lease.job_id)
            if stopping.is_set() and not keeper.cancelled:
                workshop.leases.release(lease)
                _LOG.info("job %s: given back", lease.job_id)
            else:
                state = workshop.leases.finish(lease, keeper.cancelled)
                _LOG.info("job %s: %s", lease.job_id, state)
    except LeaseLost:
        _LOG.warning("job %s: lost to another worker", lease.job_id)
    except SQLAlchemyError as error:
        # Nothing can be written down; the lease runs out, and the job goes on from its last finished step.
        _LOG.warning("job %s: the registry does not answer: %s", lease.job_id, error)
        stopping.wait(lease.seconds)
    except Exception:  # noqa: BLE001 - one job's surprise must not end the worker; its attempts are counted
        _LOG.exception("job %s: failed unexpectedly", lease.job_id)
        stopping.wait(lease.seconds)


def _stop_on_signals(stopping: threading.Event) -> None:
    def stop(_number: int, _frame: FrameType | None) -> None:
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
