"""Children of all kinds: honest, broken and hostile. The parent gets one outcome from each, and nobody survives."""

import fcntl
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from optimizer.recipe.trial import Event, Failed, Finished, Progress, StepStarted
from service.worker import landlock
from service.worker.executor import INTERNAL, KILLED, LIMIT, SANDBOX, Interrupted, LocalExecutor, Order, Outcome
from service.worker.trial_directory import TrialDirectory
from service.worker.watchdog import Limits

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="confines children by Linux's means")

LIMITS = Limits(memory_bytes=300 * 2**20, wall_seconds=20, scratch_bytes=10 * 2**20, processes=8)

SAY = """
import json, os, sys, threading
def say(**event):
    print(json.dumps(event), flush=True)
def fail(message="no parity", kind="pass_failed", step=None):
    say(event="failed", kind=kind, message=message, step=step)
"""
FAILED = Failed(kind="pass_failed", message="no parity")


@dataclass
class Ear:
    """Remembers what it is told."""

    level: str = ""
    events: list[Event] = field(default_factory=list)

    def confined(self, level: str) -> None:
        self.level = level

    def happened(self, event: Event) -> None:
        self.events.append(event)


@dataclass
class Bench:
    """Runs programs as trials' children."""

    order: Order
    ear: Ear = field(default_factory=Ear)

    def run(
        self,
        program: str,
        limits: Limits = LIMITS,
        require: bool = False,
        interrupted: Callable[[], bool] = lambda: False,
    ) -> Outcome:
        executor = LocalExecutor((sys.executable, "-S", "-c", SAY + program), limits, require)
        outcome = executor.run(self.order, self.ear, interrupted)
        assert psutil.Process().children(recursive=True) == []
        return outcome

    @property
    def scratch(self) -> Path:
        return self.order.directory.scratch


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    directory = TrialDirectory(tmp_path / "trial")
    directory.create()
    directory.spec.write_text("{}")
    lock = tmp_path / "machine.lock"
    lock.touch()
    return Bench(Order(directory, locks=(lock,)))


def test_events_arrive_in_order_and_the_last_word_counts(bench: Bench) -> None:
    outcome = bench.run(
        """
say(event="step_started", step="export", index=0, of=1)
say(event="progress", step="export", percent=50, loss=float("nan"))
fail()
say(event="progress", step="export", percent=99)
fail("something else")
sys.exit(3)
"""
    )
    assert outcome == FAILED
    assert [type(event) for event in bench.ear.events] == [StepStarted, Progress]
    assert "rlimits" in bench.ear.level


def test_the_child_gets_the_specs_path_and_its_scratch_directory(bench: Bench) -> None:
    bench.run("open('here', 'w').write(open(sys.argv[1]).read())")
    assert (bench.scratch / "here").read_text() == "{}"


def test_the_environment_holds_no_secrets(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STILLROOM_TOKEN", "secret")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("TZ", "UTC")
    bench.run("open('environment', 'w').write(json.dumps(dict(os.environ)))")
    text = (bench.scratch / "environment").read_text()
    assert "secret" not in text
    for known in ('"HF_HUB_OFFLINE": "1"', '"TRANSFORMERS_OFFLINE": "1"', '"TZ": "UTC"', f'"HOME": "{bench.scratch}'):
        assert known in text


def test_the_machine_wide_lock_can_be_taken(bench: Bench) -> None:
    (lock,) = bench.order.locks
    program = f"import fcntl; fcntl.flock(open({str(lock)!r}, 'rb'), fcntl.LOCK_EX | fcntl.LOCK_NB); fail()"
    assert bench.run(program) == FAILED
    with lock.open() as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        bench.order.directory.packages.rename(bench.order.directory.root / "used")
        refused = bench.run(program)
    assert isinstance(refused, Failed)
    assert "BlockingIOError" in refused.message


def test_junk_between_events_is_overlooked(bench: Bench) -> None:
    outcome = bench.run(
        r"""
print("Downloading... 12%")
print("{}")
print('{"event": "published"}')
print('{"event": "progress", "step": "x", "percent": "many"}')
print('{"event": "finished", "manifest": {}}')
print("[" * 100000)
sys.stdout.flush()
os.write(1, b"\x00\xff\xfe\n" * 1000)
os.write(1, b"y" * 6_000_000 + b"\n")
fail()
"""
    )
    assert outcome == FAILED
    assert bench.ear.events == []


def test_a_flood_ends_the_trial(bench: Bench) -> None:
    started = time.monotonic()
    outcome = bench.run("while True: os.write(1, b'x' * 1_000_000)")
    assert outcome == Failed(kind=LIMIT, message="the trial wrote too much to its output")
    assert time.monotonic() - started < 9


def test_a_flood_of_complaints_is_harmless(bench: Bench) -> None:
    outcome = bench.run("os.write(2, b'x' * 100_000_000); os.write(2, b'\\nValueError: done\\n'); sys.exit(1)")
    assert outcome == Failed(kind=INTERNAL, message="the optimizer stopped with status 1: ValueError: done")


def test_a_memory_hog_is_ended_with_the_reason(bench: Bench) -> None:
    outcome = bench.run("hoard = []\nwhile True: hoard.append(bytearray(os.urandom(1000) * 10000))")
    assert outcome == Failed(kind=LIMIT, message="out of memory: limit 300 MiB")


def test_memory_of_the_whole_family_counts(bench: Bench) -> None:
    program = """
for _ in range(4):
    if os.fork() == 0:
        hoard = bytearray(os.urandom(1000) * 100000)
        threading.Event().wait()
threading.Event().wait()
"""
    assert bench.run(program) == Failed(kind=LIMIT, message="out of memory: limit 300 MiB")


def test_too_many_processes_are_ended(bench: Bench) -> None:
    program = """
for _ in range(20):
    if os.fork() == 0:
        threading.Event().wait()
threading.Event().wait()
"""
    assert bench.run(program) == Failed(kind=LIMIT, message="too many processes: limit 8")


def test_a_trial_that_hangs_is_ended(bench: Bench) -> None:
    limits = Limits(LIMITS.memory_bytes, 0.5, LIMITS.scratch_bytes)
    assert bench.run("threading.Event().wait()", limits) == Failed(kind=LIMIT, message="out of time: limit 0.5 seconds")


def test_a_full_scratch_directory_ends_the_trial(bench: Bench) -> None:
    program = """
for number in range(20):
    open(str(number), "wb").write(os.urandom(1_000_000))
threading.Event().wait()
"""
    assert bench.run(program) == Failed(kind=LIMIT, message="out of scratch space: limit 10 MiB")


def test_a_file_beyond_the_limit_says_so(bench: Bench) -> None:
    outcome = bench.run("open('large', 'wb').write(bytes(11 * 2**20)); fail('went on')")
    assert isinstance(outcome, Failed)
    assert "File too large" in outcome.message


def test_an_unwanted_trial_is_ended_quickly(bench: Bench) -> None:
    unwanted = threading.Event()
    bench.ear.happened = lambda event: unwanted.set()  # type: ignore[method-assign]
    started = time.monotonic()
    program = "say(event='progress', step='x', percent=1); threading.Event().wait()"
    assert bench.run(program, interrupted=unwanted.is_set) == Interrupted()
    assert time.monotonic() - started < 5


def test_a_listener_that_gives_up_ends_the_trial(bench: Bench) -> None:
    def lose(event: Event) -> None:
        raise ConnectionError("lost")

    bench.ear.happened = lose  # type: ignore[method-assign]
    with pytest.raises(ConnectionError, match="lost"):
        bench.run("say(event='progress', step='x', percent=1); threading.Event().wait()")
    assert psutil.Process().children(recursive=True) == []


def test_what_a_child_leaves_running_is_ended(bench: Bench) -> None:
    program = """
fail()
if os.fork() == 0 and os.fork() == 0:
    threading.Event().wait()
os._exit(3)
"""
    assert bench.run(program) == FAILED


def test_a_child_that_lingers_after_its_last_word_is_not_at_fault(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.worker.executor._LEAVE_SECONDS", 0.3)
    assert bench.run("fail(); threading.Event().wait()") == FAILED


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("sys.exit(7)", "the optimizer stopped with status 7"),
        ("", "the optimizer stopped with status 0"),
        (
            "raise ValueError('no such file: /srv/models/secret.txt')",
            "the optimizer stopped with status 1: ValueError: no such file: <path>",
        ),
        ("os.abort()", "the optimizer stopped with signal SIGABRT"),
        ("import ctypes; ctypes.string_at(0)", "the optimizer stopped with signal SIGSEGV"),
    ],
)
def test_a_breakdown_is_told_without_our_insides(bench: Bench, program: str, message: str) -> None:
    assert bench.run(program) == Failed(kind=INTERNAL, message=message)


def test_a_death_by_the_systems_hand_is_told_as_such(bench: Bench) -> None:
    outcome = bench.run("import signal; os.kill(os.getpid(), signal.SIGKILL)")
    assert isinstance(outcome, Failed)
    assert outcome.kind == KILLED


def test_a_command_that_is_not_there_is_a_failure(bench: Bench) -> None:
    executor = LocalExecutor(("/nothing",), LIMITS, False)
    outcome = executor.run(bench.order, bench.ear, lambda: False)
    assert isinstance(outcome, Failed)
    assert outcome.message.startswith("the optimizer stopped with status 127")


def test_a_required_sandbox_runs_nothing_without_a_layer(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.worker.sandbox.REQUIRED_LAYERS", ("no_new_privs", "vault"))
    outcome = bench.run("open('ran', 'w').close()", require=True)
    assert isinstance(outcome, Failed)
    assert outcome.kind == SANDBOX
    assert "missing vault" in outcome.message
    assert not (bench.scratch / "ran").exists()


def test_the_sandbox_can_be_required_here(bench: Bench) -> None:
    if landlock.version() == 0:
        pytest.skip("this kernel has no Landlock")
    assert bench.run("fail()", require=True) == FAILED


LIBRARIES = """
import onnxruntime, torch, transformers
from transformers import ResNetConfig, ResNetForImageClassification
torch.set_num_threads(1)
config = ResNetConfig(num_channels=1, embedding_size=4, hidden_sizes=[4], depths=[1], layer_type="basic")
network = ResNetForImageClassification(config)
loss = network(torch.zeros(2, 1, 8, 8), labels=torch.tensor([0, 1])).loss
loss.backward()
torch.optim.SGD(network.parameters(), 0.1).step()
network.save_pretrained("saved")
import numpy, onnx
from onnx import helper, TensorProto
value = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, [2])
graph = helper.make_graph([helper.make_node("Add", ["x", "x"], ["y"])], "g", [value("x")], [value("y")])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
(answer,) = session.run(None, {"x": numpy.ones(2, numpy.float32)})
say(event="progress", step=",".join(map(str, answer)), percent=loss.item())
fail()
"""


@pytest.mark.slow
def test_the_optimizers_libraries_run_inside(bench: Bench) -> None:
    pytest.importorskip("torch")
    executor = LocalExecutor((sys.executable, "-c", SAY + LIBRARIES), Limits(2**32, 60, 2**28), True)
    assert executor.run(bench.order, bench.ear, lambda: False) == FAILED
    (progress,) = bench.ear.events
    assert isinstance(progress, Progress)
    assert progress.step == "2.0,2.0"
    assert (bench.scratch / "saved" / "model.safetensors").exists()


def test_a_result_is_only_a_claim(bench: Bench) -> None:
    # What a `finished` event names is looked at by service.worker.publication, never here.
    assert not isinstance(bench.run("say(event='finished')"), Finished)
