"""A home with one model, its checkpoint and its data, and a worker's settings for the fake child."""

import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.orm import Session, sessionmaker

from optimizer.artifact.digest import of_bytes, of_tree
from optimizer.artifact.hardware import fingerprint
from optimizer.artifact.inspection import inspect_checkpoint
from optimizer.artifact.session import SessionSpec
from optimizer.artifact.store import DirectoryStore
from optimizer.errors import InvalidInput
from optimizer.recipe.distill import Distill
from optimizer.recipe.export import Export
from optimizer.recipe.quantize import QuantizeDynamic
from optimizer.recipe.recipe import Recipe
from service.errors import InvalidArgument
from service.home import Home
from service.jobs.lease import Lease
from service.jobs.leases import Leases
from service.jobs.queue import JobQueue
from service.jobs.states import has_ended
from service.jobs.views import JobView
from service.registry import tables
from service.registry.database import close, open_registry, reading
from service.settings import WorkerSettings
from service.uploads.inspection import Findings
from service.worker.executor import Executor
from service.worker.fake_executor import FakeExecutor
from service.worker.job import run_job
from service.worker.lease_keeper import LeaseKeeper
from service.worker.resume_store import ResumeStore
from service.worker.step_cache import StepCache
from service.worker.trial import Workshop

FAKE_CHILD = (sys.executable, "-m", "service.worker.fake_child")

RECIPES = (
    Recipe(name="int8", steps=(Export(), QuantizeDynamic())),
    Recipe(name="distilled", steps=(Distill(epochs=1), Export())),
    Recipe(name="small", steps=(Distill(epochs=2), Export(), QuantizeDynamic())),
)


@dataclass
class Installation:
    """A home directory as control leaves it after `push`."""

    home: Home
    sessions: sessionmaker[Session]
    settings: WorkerSettings
    queue: JobQueue
    store: DirectoryStore

    def push(self, model: str = "digits", script: dict[str, Any] | None = None) -> None:
        """Writes a model with one checkpoint, whose `script.json` tells the fake child what to do, and data."""
        checkpoint = [self._blob("script.json", json.dumps(script or {}).encode())]
        checkpoint.append(self._blob("weights/model.bin", b"weights"))
        data = self._blob("all.npz", b"rows of " + model.encode())
        now = datetime.now(UTC)
        with self.sessions.begin() as session:
            row = tables.Model(tenant="default", name=model, task="classification", salt="s", created_at=now)
            row.dataset = tables.Dataset(
                tenant="default", digest=data["sha256"], files={"all": data | {"rows": 10}}, created_at=now
            )
            row.checkpoints.append(
                tables.Checkpoint(
                    tenant="default",
                    revision=1,
                    format="huggingface",
                    digest=of_tree({file["path"]: file["sha256"] for file in checkpoint}),
                    files=checkpoint,
                    inspection={
                        "format": "huggingface",
                        "kind": "image",
                        "inputs": {"x": {"datatype": "FP32", "shape": ["batch", 3]}},
                    },
                    created_at=now,
                )
            )
            session.add(row)

    def push_again(self, model: str = "digits") -> None:
        """Adds a second revision of a model; its data stays."""
        weights = self._blob("weights/model.bin", b"other weights")
        with self.sessions.begin() as session:
            row = session.query(tables.Model).filter_by(name=model).one()
            first = row.checkpoints[0]
            row.checkpoints.append(
                tables.Checkpoint(
                    tenant="default",
                    revision=2,
                    format=first.format,
                    digest=of_tree({weights["path"]: weights["sha256"]}),
                    files=[weights],
                    inspection=first.inspection,
                    created_at=datetime.now(UTC),
                )
            )

    def create(self, recipes: tuple[Recipe, ...] = RECIPES, model: str = "digits", **options: Any) -> str:
        """A job for the newest checkpoint."""
        return self.queue.create("default", model, recipes=recipes, **options)

    def job(self, job_id: str) -> JobView:
        """The job now."""
        return self.queue.get("default", job_id)

    def wait(self, job_id: str, until: Callable[[JobView], bool] = lambda job: has_ended(job.state)) -> JobView:
        """Waits until the job is as wanted, for at most half a minute."""
        deadline = time.monotonic() + 30
        pause = threading.Event()
        while not until(job := self.job(job_id)):
            assert time.monotonic() < deadline, job
            pause.wait(0.02)
        return job

    def variants(self) -> list[tables.Variant]:
        """All variants, oldest first."""
        with reading(self.sessions) as session:
            return list(session.query(tables.Variant).order_by(tables.Variant.id))

    def _blob(self, path: str, data: bytes) -> dict[str, Any]:
        temporary = self.home.uploads / "part"
        temporary.write_bytes(data)
        self.store.put(temporary, of_bytes(data))
        return {"path": path, "sha256": of_bytes(data), "size_bytes": len(data)}


@pytest.fixture
def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installation]:
    """An empty home; the machine-wide lease lies in it, so that tests do not wait for other tests."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    home = Home(tmp_path / "home")
    home.create()
    sessions = open_registry(home.registry_url)
    settings = WorkerSettings(home=home.root, optimizer_command=FAKE_CHILD, poll_seconds=0.02, lease_seconds=5)
    queue = JobQueue(sessions, lambda: datetime.now(UTC))
    yield Installation(home, sessions, settings, queue, DirectoryStore(home.blobs))
    close(sessions)


class InProcessInspector:
    """The real inspection, without a process of its own."""

    def inspect(self, files: Any, dataset: Any, task: str, timeout_seconds: float) -> Findings:
        """See Inspector."""
        try:
            return Findings(inspect_checkpoint(files).model_dump(mode="json"), "", {})
        except InvalidInput as error:
            raise InvalidArgument(str(error)) from error


@pytest.fixture
def inspector() -> InProcessInspector:
    """An inspector that is quick."""
    return InProcessInspector()


@dataclass
class Leased:
    """A job that is being worked on in this process, without a child."""

    leases: Leases
    lease: Lease
    workshop: Workshop
    stopping: threading.Event

    def run(self, executor: Executor | None = None) -> None:
        """Runs the job's trials."""
        workshop = self.workshop if executor is None else replace(self.workshop, executor=executor)
        with LeaseKeeper(self.leases, self.lease, self.stopping) as keeper:
            run_job(workshop, self.lease, keeper, lambda: datetime.now(UTC))


@pytest.fixture
def lease_job(installation: Installation, tmp_path: Path) -> Callable[..., Leased]:
    """Creates a job (see Installation.create) and takes its lease."""

    def take(*recipes: Recipe, **options: Any) -> Leased:
        installation.create(recipes or RECIPES, **options)
        leases = Leases(installation.sessions, lambda: datetime.now(UTC))
        lease = leases.take("worker", 5)
        assert lease is not None
        directory = tmp_path / "worker"
        directory.mkdir(exist_ok=True)
        installation.home.lease.touch()
        workshop = Workshop(
            leases=leases,
            store=installation.store,
            cache=StepCache(installation.home.cache, 2**30),
            resume=ResumeStore(installation.home.resume),
            studies=installation.home.studies,
            executor=FakeExecutor(),
            inspector=InProcessInspector(),
            hardware=fingerprint(),
            session=SessionSpec(),
            machine_lease=installation.home.lease,
            directory=directory,
            max_bytes=2**30,
        )
        return Leased(leases, lease, workshop, threading.Event())

    return take


@pytest.fixture
def leased(installation: Installation, lease_job: Callable[..., Leased]) -> Leased:
    """A leased job with the source and RECIPES to try."""
    installation.push()
    return lease_job()
