"""The worker as a process: jobs go through it, whatever happens to it on the way."""

import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

from service.jobs.states import JobState
from service.settings import WorkerSettings

Start = Callable[[WorkerSettings], subprocess.Popen[bytes]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Starts workers, and ends them after the test."""
    started: list[subprocess.Popen[bytes]] = []

    def begin(settings: WorkerSettings) -> subprocess.Popen[bytes]:
        process = subprocess.Popen([sys.executable, "-m", "service.worker", settings.model_dump_json()])
        started.append(process)
        return process

    yield begin
    for process in started:
        process.kill()
        process.wait()


def test_a_job_becomes_variants(installation, start) -> None:
    installation.push()
    job_id = installation.create()
    start(installation.settings)
    job = installation.wait(job_id)
    print(job)
    for e in installation.queue.events("default", job_id):
        print(e)
    assert job.state is JobState.SUCCEEDED
