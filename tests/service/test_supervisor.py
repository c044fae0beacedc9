"""The supervisor with small scripts in place of the roles: order, restarts, signals, and no orphans."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from service.settings import ControlSettings, EngineSettings, WorkerSettings
from service.supervisor import start_block

# Writes its name, pid and end to a journal; crashes when told to.
ROLE = """
import os, signal, sys, time
name, journal, behaviour = sys.argv[1:]
def write(what):
    with open(journal, "a") as stream:
        stream.write(f"{name} {what} {os.getpid()}\\n")
def stop(*_):
    if behaviour != "stubborn":
        write("stopped")
        sys.exit(0)
signal.signal(signal.SIGTERM, stop)
write("started")
if behaviour == "broken":
    sys.exit("cannot start")
while True:
    signal.pause()
"""

SUPERVISOR = """
import json, logging, sys
from service.errors import ServiceError
from service.supervision.child import Role
from service.supervisor import Supervisor
logging.basicConfig()
roles, journal = json.loads(sys.argv[1]), sys.argv[2]
def started():
    try:
        return open(journal).read().count("started") >= len([name for name, _ in roles if name != "worker"])
    except FileNotFoundError:
        return False
command = (sys.executable, "-c", sys.argv[3])
made = [Role(name, (*command, name, journal, how), 0.5, name == "worker") for name, how in roles]
try:
    Supervisor(made, started, lambda: print("live", open(journal).read().count("worker"), flush=True)).run()
except ServiceError as error:
    sys.exit(str(error))
"""


class Run:
    """A supervisor process and the journal of its children."""

    def __init__(self, journal: Path, roles: dict[str, str]) -> None:
        self._journal = journal
        self._roles = set(roles)
        self.process = subprocess.Popen(
            [sys.executable, "-c", SUPERVISOR, json.dumps(list(roles.items())), str(journal), ROLE],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def lines(self) -> list[tuple[str, str, int]]:
        """(role, what, pid) so far."""
        if not self._journal.exists():
            return []
        words = [line.split() for line in self._journal.read_text().splitlines()]
        return [(name, what, int(pid)) for name, what, pid in words]

    def wait_live(self) -> None:
        """Until it has announced itself, before which no worker was started, and all roles run."""
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "live 0\n"
        deadline = time.monotonic() + 10
        while {name for name, _, _ in self.lines()} != self._roles:
            assert time.monotonic() < deadline
            os.sched_yield()

    def pid(self, role: str) -> int:
        """Of the role's newest process."""
        return [pid for name, what, pid in self.lines() if (name, what) == (role, "started")][-1]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[dict[str, str]], Run]]:
    runs: list[Run] = []

    def start(roles: dict[str, str]) -> Run:
        runs.append(Run(tmp_path / f"journal-{len(runs)}", roles))
        return runs[-1]

    yield start
    for run in runs:
        run.process.kill()
        run.process.communicate(timeout=10)
        for _, _, pid in run.lines():
            gone(pid)


def gone(pid: int) -> None:
    """Waits until the process has gone, or is a zombie that nobody has to wait for."""
    deadline = time.monotonic() + 10
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline, f"{pid} still runs"
        os.sched_yield()


ALL = {"engine": "", "control": "", "worker": ""}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_children_stop_from_the_top_down(start: Callable[[dict[str, str]], Run], number: signal.Signals) -> None:
    run = start(ALL)
    run.wait_live()
    run.process.send_signal(number)
    assert run.process.wait(10) == 0
    assert [name for name, what, _ in run.lines() if what == "stopped"] == ["worker", "control", "engine"]


def test_a_crashed_child_is_started_again_and_the_others_go_on(start: Callable[[dict[str, str]], Run]) -> None:
    run = start(ALL)
    run.wait_live()
    before = {role: run.pid(role) for role in ALL}
    os.kill(before["control"], signal.SIGKILL)
    deadline = time.monotonic() + 10
    while run.pid("control") == before["control"]:
        assert time.monotonic() < deadline
        os.sched_yield()
    assert {role for role in ALL if run.pid(role) != before[role]} == {"control"}
    run.process.terminate()
    assert run.process.wait(10) == 0
    assert "the control was killed by SIGKILL" in run.process.communicate()[1]


def test_a_child_that_cannot_start_ends_everything(start: Callable[[dict[str, str]], Run]) -> None:
    run = start({"engine": "", "control": "broken", "worker": ""})
    _, errors = run.process.communicate(timeout=10)
    assert run.process.returncode == 1
    assert "cannot start" in errors
    assert "the control ended with status 1 before the server was live" in errors


def test_a_stubborn_child_is_killed_in_time(start: Callable[[dict[str, str]], Run]) -> None:
    run = start({"engine": "", "control": "stubborn"})
    run.wait_live()
    run.process.terminate()
    assert run.process.wait(10) == 0
    assert [name for name, what, _ in run.lines() if what == "stopped"] == ["engine"]
    gone(run.pid("control"))


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children of their parent's death")
def test_children_die_with_a_killed_supervisor(start: Callable[[dict[str, str]], Run]) -> None:
    run = start(ALL)
    run.wait_live()
    run.process.kill()
    run.process.wait(10)
    for role in ALL:
        gone(run.pid(role))


def test_the_start_block_names_every_address(tmp_path: Path) -> None:
    engine = EngineSettings(home=tmp_path, host="0.0.0.0", insecure=True, transport="grpcio")
    control = ControlSettings(home=tmp_path, host="::", insecure=True)
    block = start_block(engine, control, WorkerSettings(), 1.234)
    assert "is live after 1.2 s" in block
    assert "0.0.0.0:8001" in block
    assert "http://[::1]:8000/v2" in block
    assert "http://[::1]:8002/metrics" in block
    assert str(tmp_path) in block
    assert "transport  grpcio" in block
    assert "sandbox: best" in block
    assert "INSECURE" in block
    assert "INSECURE" not in start_block(EngineSettings(), ControlSettings(), None, 0.1)
