"""The worker as a process: jobs go through it, whatever happens to it on the way."""

import contextlib
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.recipe.distill import Distill
from optimizer.recipe.export import Export
from optimizer.recipe.quantize import QuantizeDynamic
from optimizer.recipe.recipe import Recipe
from service.jobs.states import JobState, TrialState, has_ended
from service.settings import WorkerSettings
from service.worker.loop import memory_limit_bytes

Start = Callable[[WorkerSettings], subprocess.Popen[bytes]]

RECIPES = (
    Recipe(name="int8", steps=(Export(), QuantizeDynamic())),
    Recipe(name="distilled", steps=(Distill(epochs=1), Export())),
    Recipe(name="small", steps=(Distill(epochs=2), Export(), QuantizeDynamic())),
)
NAMES = ["r1.fp32", "r1.int8", "r1.distilled", "r1.small"]


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


def wait_until(holds: Callable[[], bool], seconds: float = 20) -> None:
    """Polls until `holds`, for at most so long."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not holds():
        assert time.monotonic() < deadline
        pause.wait(0.02)


def processes_of(home: Path) -> list[psutil.Process]:
    """Whatever runs with this home in its command line: workers, keepers, children."""
    found = []
    for process in psutil.process_iter(["cmdline", "status"]):
        words = process.info["cmdline"] or []
        if any(str(home) in word for word in words) and process.info["status"] != psutil.STATUS_ZOMBIE:
            found.append(process)
    return found


def variant_names(installation: Any) -> list[str]:
    return [variant.name for variant in installation.variants()]


def test_a_job_becomes_variants(installation: Any, start: Start) -> None:
    installation.push()
    first, second = installation.create(), installation.create(RECIPES[:1])
    worker = start(installation.settings)
    job = installation.wait(first)
    assert job.state is JobState.SUCCEEDED
    assert [trial.variant for trial in job.trials] == NAMES
    assert "rlimits" in job.sandbox
    # The same request again finds its work done.
    again = installation.wait(second)
    assert [trial.variant for trial in again.trials] == NAMES[:2]
    assert variant_names(installation) == NAMES
    worker.terminate()
    assert worker.wait(timeout=10) == 0
    assert list(installation.home.scratch.iterdir()) == []


def test_a_stopped_worker_gives_its_job_back(installation: Any, start: Start) -> None:
    installation.push(script={"step_seconds": 5})
    job_id = installation.create()
    worker = start(installation.settings)
    installation.wait(job_id, lambda job: job.trials[0].state is TrialState.RUNNING and job.sandbox != "")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(timeout=10) == 0
    job = installation.job(job_id)
    assert (job.state, job.attempts, job.trials[0].state) == (JobState.QUEUED, 0, TrialState.QUEUED)
    assert processes_of(installation.home.root) == []
    assert list(installation.home.scratch.iterdir()) == []


def test_a_cancelled_job_ends_its_child(installation: Any, start: Start) -> None:
    installation.push(script={"step_seconds": 60})
    job_id = installation.create()
    worker = start(installation.settings)
    installation.wait(job_id, lambda job: job.sandbox != "")
    installation.queue.cancel("default", job_id)
    assert installation.wait(job_id).state is JobState.CANCELLED
    wait_until(lambda: [process.pid for process in processes_of(installation.home.root)] == [worker.pid])
    # The worker is ready for more.
    installation.push("other")
    assert installation.wait(installation.create(RECIPES[:1], model="other")).state is JobState.SUCCEEDED


def test_without_the_optimizer_jobs_wait_and_say_for_what(installation: Any, tmp_path: Path) -> None:
    installation.push()
    job_id = installation.create()
    settings = installation.settings.model_copy(update={"optimizer_command": None})
    hide = "import importlib.util; importlib.util.find_spec = lambda name: None\n"
    run = "import sys; from service.settings import *; from service.worker.loop import run\n"
    program = f"{hide}{run}run(WorkerSettings.model_validate_json(sys.argv[1]))"
    worker = subprocess.Popen([sys.executable, "-c", program, settings.model_dump_json()])

    def explained() -> bool:
        return any("stillroom[optimizer]" in event.message for event in installation.queue.events("default", job_id))

    try:
        wait_until(explained)
        assert installation.job(job_id).state is JobState.QUEUED
    finally:
        worker.terminate()
        assert worker.wait(timeout=10) == 0


@pytest.mark.parametrize("seed", [1])
def test_a_job_survives_kills_at_any_moment(installation: Any, start: Start, seed: int) -> None:
    """`kill -9` of the worker, or of anything below it, at random moments: one variant a trial all the same."""
    chance = random.Random(seed)
    installation.push(script={"step_seconds": 0.1})
    job_id = installation.create(RECIPES[:2])
    worker = start(installation.settings)
    published: list[str] = []
    # A recipe whose own processes are killed three times is given up, so no more than two of those.
    victims = [*[_kill_worker] * 3, *[_kill_below] * 2]
    chance.shuffle(victims)
    for kill in victims:
        seen = len(installation.queue.events("default", job_id))
        _wait_for_events(installation, job_id, seen + chance.randint(1, 6))
        threading.Event().wait(chance.uniform(0, 0.3))
        kill(worker, chance)
        if worker.poll() is not None:
            # What was acknowledged stays.
            assert variant_names(installation)[: len(published)] == published
            published = variant_names(installation)
            worker = start(installation.settings)
    job = installation.wait(job_id)
    assert job.state is JobState.SUCCEEDED, job.error
    assert [trial.variant for trial in job.trials] == NAMES[:3], job.trials
    assert variant_names(installation) == NAMES[:3]
    for variant in installation.variants():
        assert all(installation.store.has(file["sha256"]) for file in variant.files)
    # The last worker has buried all before it, and goes without a trace.
    assert installation.wait(installation.create(RECIPES[:1])).state is JobState.SUCCEEDED
    assert len(list(installation.home.scratch.iterdir())) == 1
    worker.terminate()
    assert worker.wait(timeout=10) == 0
    assert list(installation.home.scratch.iterdir()) == []
    wait_until(lambda: processes_of(installation.home.root) == [])


def _wait_for_events(installation: Any, job_id: str, count: int) -> None:
    wait_until(
        lambda: len(installation.queue.events("default", job_id)) >= count or has_ended(installation.job(job_id).state)
    )


def _kill_worker(worker: subprocess.Popen[bytes], _chance: random.Random) -> None:
    worker.kill()
    worker.wait()


def _kill_below(worker: subprocess.Popen[bytes], chance: random.Random) -> None:
    below = psutil.Process(worker.pid).children(recursive=True)
    if below:
        with contextlib.suppress(psutil.NoSuchProcess):
            chance.choice(below).kill()


@given(st.integers(2**28, 2**40), st.integers(2**28, 2**45))
def test_the_memory_limit_is_what_was_asked_or_three_quarters(asked: int, host: int) -> None:
    nothing = Path("/nonexistent")
    assert memory_limit_bytes(asked, host, nothing) == asked
    assert memory_limit_bytes(None, host, nothing) == host * 3 // 4


@pytest.mark.parametrize(("text", "limit"), [("max\n", 750), ("400\n", 300), ("4000\n", 750), ("", 750)])
def test_a_cgroups_limit_counts(tmp_path: Path, text: str, limit: int) -> None:
    (tmp_path / "memory.max").write_text(text)
    assert memory_limit_bytes(None, 1000, tmp_path / "memory.max") == limit
