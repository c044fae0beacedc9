"""Trials as the worker starts them: a spec file and a process of its own."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from optimizer.__main__ import run
from optimizer.artifact.digest import of_file, of_tree
from optimizer.artifact.manifest import EVALUATION_FILE, MANIFEST_FILE, MODEL_FILE
from optimizer.recipe.trial import Event, Failed, Finished, StepFinished, StepStarted, Studied, parse_event

_ROOT = Path(__file__).parents[3]
_FORMATS = {"model.onnx": "onnx", "model.pt2": "pt2", "architecture.json": "state_dict"}


@dataclass
class Trial:
    """One trial's directory, and the events of its last run."""

    scratch: Path
    values: dict[str, Any]
    events: list[Event] = field(default_factory=list)
    status: int | None = None
    errors: str = ""

    @property
    def result(self) -> Path:
        return self.scratch / "result"

    @property
    def steps(self) -> dict[str, str]:
        """What a later trial is given as its cache."""
        return {path.name: str(path) for path in (self.scratch / "steps").glob("*") if path.suffix != ".partial"}

    @property
    def ran(self) -> list[str]:
        """Passes that really ran."""
        return [event.step for event in self.events if isinstance(event, StepStarted) and not event.cached]

    @property
    def cached(self) -> list[str]:
        return [event.step for event in self.events if isinstance(event, StepStarted) and event.cached]

    @property
    def last(self) -> Event:
        return self.events[-1]

    def write(self) -> Path:
        """Writes the spec; returns its path."""
        spec = self.scratch / "spec.json"
        spec.write_text(json.dumps(self.values))
        return spec

    def run_here(self) -> "Trial":
        """Runs in this process, which saves importing torch again."""
        self.events = []
        self.status = run(self.write(), self.events.append)
        return self

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        spec = self.write()
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.scratch),
            "TMPDIR": str(self.scratch),
            "PYTHONPATH": str(_ROOT),
            "OMP_NUM_THREADS": "1",
        }
        return subprocess.Popen(
            [sys.executable, *arguments, "-m", "optimizer", "run", str(spec)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=self.scratch, env=environment,
        )  # fmt: skip

    def run(self, *arguments: str) -> "Trial":
        """Runs to the end; every line of standard output must be an event."""
        with self.start(*arguments) as process:
            output, self.errors = process.communicate(timeout=120)
        self.events = [parse_event(line) for line in output.splitlines()]
        self.status = process.returncode
        assert isinstance(self.last, Finished | Failed | Studied) or self.status not in (0, 3), self.errors
        return self

    def finished(self) -> Finished:
        assert isinstance(self.last, Finished), (self.last, self.errors)
        return self.last

    def failed(self) -> Failed:
        assert isinstance(self.last, Failed), self.last
        return self.last

    def finished_steps(self) -> list[StepFinished]:
        return [event for event in self.events if isinstance(event, StepFinished)]


MakeTrial = Callable[..., Trial]


@pytest.fixture(scope="session")
def make_trial(tmp_path_factory: pytest.TempPathFactory) -> MakeTrial:
    """A function that lays a trial of `steps` on a sample out; further values replace those of the spec."""

    def make(sample: Any, name: str, steps: list[dict[str, Any]], source: Trial | None = None, **changes: Any) -> Trial:
        scratch = tmp_path_factory.mktemp(name)
        files = {path.name: of_file(path) for path in sample.directory.iterdir()}
        values: dict[str, Any] = {
            "tenant": "default",
            "model": "tiny",
            "task": "classification",
            "variant": f"r1.{name}",
            "checkpoint": {
                "revision": "r1",
                "digest": of_tree(files),
                "format": next((form for name, form in _FORMATS.items() if name in files), "huggingface"),
                "directory": str(sample.directory),
            },
            "dataset": {"digest": of_file(sample.data), "files": {"all": str(sample.data)}},
            "recipe": {"name": name, "steps": steps},
            "source": None,
            "session": {"intra_op_threads": 1},
            "objective": {"max_accuracy_drop": 0.1},
            "scratch": str(scratch),
        }
        if source is not None:
            values["source"] = {
                "name": source.values["variant"],
                "model": str(source.result / MODEL_FILE),
                "manifest": str(source.result / MANIFEST_FILE),
                "evaluation": str(source.result / EVALUATION_FILE),
            }
            values["cache"] = source.steps
        return Trial(scratch, values | changes)

    return make


@pytest.fixture(scope="session")
def source(resnet: Any, make_trial: MakeTrial) -> Trial:
    """The residual network's own fp32 variant, finished."""
    trial = make_trial(resnet, "fp32", [{"use": "export"}]).run()
    trial.finished()
    return trial


@pytest.fixture(scope="session")
def slim(resnet: Any, source: Trial, make_trial: MakeTrial) -> Trial:
    """The network pruned to half its width and distilled, finished."""
    steps = [{"use": "prune_structured", "ratio": 0.5}, {"use": "distill", "epochs": 2}, {"use": "export"}]
    trial = make_trial(resnet, "slim", steps, source, cache={}).run()
    trial.finished()
    return trial
