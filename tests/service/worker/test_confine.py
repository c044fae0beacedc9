"""The sandbox from inside: what a confined process tries in vain, as root and as an ordinary user."""

import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

import service
from service.worker import landlock
from service.worker.confine import LAYERS, REFUSED, Plan, Report
from service.worker.sandbox import readable_paths

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is made of Linux's means")

NOBODY = 65534

# Defines `attempt(name, action)`; the program prints what came of each attempt.
PROBE = """
import json, os, signal, socket, sys
found = {}
def attempt(name, action):
    try:
        action()
        found[name] = "done"
    except OSError as error:
        found[name] = error.strerror
outside, inside, secret, port = sys.argv[1:5]
keeper, parent = os.getppid(), int(sys.argv[5])
"""
REPORT = "\nprint(json.dumps(found))\n"


class Box:
    """Starts confined programs whose scratch directory is `inside`, as the present user or as nobody."""

    def __init__(self, root: Path, user: int | None) -> None:
        self.user = user
        self.outside = root / "outside"
        self.inside = root / "inside"
        self.secret = root / "secret"
        for path in (self.outside, self.inside):
            path.mkdir()
        self.secret.write_text("secret")
        self.packages = root / "packages"
        shutil.copytree(Path(service.__file__).parent / "worker", self.packages / "service" / "worker")
        (self.packages / "service" / "__init__.py").touch()
        if user is not None:
            for path in (root, *root.rglob("*")):
                os.chown(path, user, user)
            _open_the_way(root)
        self.interpreter = sys.executable if user is None else "/usr/bin/python3"
        self.running: list[subprocess.Popen[bytes]] = []

    def start(self, program: str, *arguments: str, require: tuple[str, ...] = ()) -> tuple[Any, Report]:
        """The keeper's process, and the layers that its child reached."""
        read_end, write_end = os.pipe()
        plan = Plan(
            read=[*readable_paths({}), str(self.packages)],
            write=[str(self.inside)],
            devices=["/dev/null"],
            require=list(require),
            report_fd=write_end,
            max_file_bytes=2**20,
            cpu_seconds=60,
        )
        command = [self.interpreter, "-S", "-c", program, *arguments]
        process = subprocess.Popen(
            [self.interpreter, "-S", "-m", "service.worker.confine", plan.to_json(), "--", *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"PYTHONPATH": str(self.packages), "PYTHONSAFEPATH": "1"},
            cwd=self.inside,
            pass_fds=(write_end,),
            start_new_session=True,
            **({} if self.user is None else {"user": self.user, "group": self.user, "extra_groups": []}),
        )
        os.close(write_end)
        self.running.append(process)
        with os.fdopen(read_end, "rb") as stream:
            return process, Report(**json.loads(stream.readline()))

    def attempts(self, program: str, port: int = 0) -> dict[str, str]:
        """What came of the attempts in `program`."""
        places = [str(path) for path in (self.outside, self.inside, self.secret)]
        process, _ = self.start(PROBE + program + REPORT, *places, str(port), str(os.getpid()))
        # Not `communicate`: that closes standard input first, which is the keeper's lifeline.
        output = process.stdout.read()
        assert process.wait(timeout=30) == 0
        found: dict[str, str] = json.loads(output)
        return found

    def close(self) -> None:
        for process in self.running:
            with process:
                process.kill()


def _open_the_way(path: Path) -> None:
    for folder in path.parents:
        if folder != Path("/") and folder.stat().st_uid == os.getuid() and not folder.stat().st_mode & 0o001:
            folder.chmod(folder.stat().st_mode | 0o011)


def _users() -> list[Any]:
    ordinary = pytest.param(
        NOBODY,
        id="nobody",
        marks=pytest.mark.skipif(
            os.getuid() != 0 or not Path("/usr/bin/python3").exists(), reason="needs root, to become another user"
        ),
    )
    return [pytest.param(None, id="myself"), ordinary]


@pytest.fixture(params=_users())
def box(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Box]:
    made = Box(tmp_path, request.param)
    yield made
    made.close()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


def test_every_layer_is_reached_here(box: Box) -> None:
    if landlock.version() == 0:
        pytest.skip("this kernel has no Landlock")
    process, report = box.start("")
    assert process.wait(timeout=30) == 0
    assert set(report.missing) <= {"netns"}
    assert report.level.replace(f":{landlock.version()}", "") == ",".join(
        layer for layer in LAYERS if layer not in report.missing
    )


def test_no_socket_leads_out(box: Box, listener: socket.socket, tmp_path: Path) -> None:
    path = tmp_path / "outside" / "control.sock"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        path.chmod(0o777)
        server.listen()
        found = box.attempts(
            """
attempt("tcp", lambda: socket.create_connection(("127.0.0.1", int(port))))
attempt("udp", lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
attempt("tcp6", lambda: socket.socket(socket.AF_INET6))
attempt("netlink", lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW))
attempt("packet", lambda: socket.socket(socket.AF_PACKET, socket.SOCK_RAW))
attempt("vsock", lambda: socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM))
attempt("unix datagram", lambda: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
attempt("unix", lambda: socket.socket(socket.AF_UNIX).connect(outside + "/control.sock"))
attempt("pair", socket.socketpair)
""",
            listener.getsockname()[1],
        )
    assert found.pop("pair") == "done"
    assert set(found.values()) == {"Operation not permitted"}


def test_only_the_scratch_directory_can_be_written(box: Box) -> None:
    box.outside.chmod(0o777)
    found = box.attempts(
        """
attempt("inside", lambda: open(inside + "/file", "w").close())
attempt("rename", lambda: os.rename(inside + "/file", inside + "/renamed"))
attempt("remove", lambda: os.remove(inside + "/renamed"))
attempt("create", lambda: open(outside + "/file", "w").close())
attempt("mkdir", lambda: os.mkdir(outside + "/directory"))
attempt("rmdir", lambda: os.rmdir(outside))
attempt("append", lambda: open(secret, "a").close())
attempt("remove outside", lambda: os.remove(secret))
attempt("link", lambda: os.link(secret, inside + "/link"))
attempt("tmp", lambda: open("/tmp/stillroom-probe", "w").close())
attempt("shm", lambda: open("/dev/shm/stillroom-probe", "w").close())
"""
    )
    allowed = [found.pop(name) for name in ("inside", "rename", "remove")]
    assert allowed == ["done"] * 3
    assert "done" not in found.values()
    assert list(box.outside.iterdir()) == []
    assert box.secret.read_text() == "secret"


def test_secrets_outside_cannot_be_read(box: Box) -> None:
    box.secret.chmod(0o666)
    found = box.attempts(
        """
attempt("secret", lambda: open(secret).close())
attempt("list", lambda: os.listdir(os.path.dirname(secret)))
attempt("through a link", lambda: (os.symlink(secret, inside + "/link"), open(inside + "/link").close()))
attempt("passwords", lambda: open("/etc/shadow").close())
attempt("users", lambda: open("/etc/passwd").close())
attempt("environment", lambda: open(f"/proc/{parent}/environ").close())
attempt("keeper", lambda: open(f"/proc/{keeper}/environ").close())
attempt("memory", lambda: open(f"/proc/{keeper}/mem", "rb").close())
attempt("descriptors", lambda: os.listdir(f"/proc/{parent}/fd"))
attempt("processes", lambda: os.listdir("/proc"))
attempt("own", lambda: open("/proc/self/status").close())
attempt("own by number", lambda: open(f"/proc/{os.getpid()}/statm").close())
"""
    )
    assert (found.pop("own"), found.pop("own by number")) == ("done", "done")
    assert "done" not in found.values()


def test_modes_of_files_stay_as_they_are(box: Box) -> None:
    before = box.secret.stat()
    found = box.attempts(
        """
attempt("chmod", lambda: os.chmod(secret, 0))
attempt("chown", lambda: os.chown(secret, 1, 1))
attempt("utime", lambda: os.utime(secret, (0, 0)))
attempt("own", lambda: (open(inside + "/own", "w").close(), os.chmod(inside + "/own", 0o400)))
"""
    )
    # Libraries copy modes by the way, and must not fail over it.
    assert set(found.values()) == {"done"}
    after = box.secret.stat()
    assert (after.st_mode, after.st_uid, after.st_mtime) == (before.st_mode, before.st_uid, before.st_mtime)


def test_other_processes_are_out_of_reach(box: Box) -> None:
    found = box.attempts(
        """
import ctypes, resource
libc = ctypes.CDLL(None, use_errno=True)
def call(name, *arguments):
    def act():
        if getattr(libc, name)(*arguments) == -1:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return act
attempt("kill parent", lambda: os.kill(parent, 0))
attempt("kill keeper", lambda: os.kill(keeper, signal.SIGKILL))
attempt("ptrace", call("ptrace", 16, keeper, 0, 0))
attempt("read memory", call("process_vm_readv", keeper, 0, 0, 0, 0, 0))
attempt("limits", lambda: resource.prlimit(parent, resource.RLIMIT_CORE))
attempt("priority", lambda: os.setpriority(os.PRIO_PROCESS, parent, 19))
attempt("new session", os.setsid)
attempt("new group", lambda: os.setpgid(0, 0))
attempt("outlive", call("prctl", 1, 0, 0, 0, 0))
"""
    )
    assert set(found.values()) <= {"Operation not permitted", "No such process"}
    assert found["outlive"] == "Operation not permitted"


def test_the_kernels_riskier_doors_are_closed(box: Box) -> None:
    found = box.attempts(
        """
import ctypes
libc = ctypes.CDLL(None, use_errno=True)
def call(name, *arguments):
    def act():
        if getattr(libc, name)(*arguments) == -1:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return act
attempt("mount", call("mount", b"none", b"/tmp", b"tmpfs", 0, None))
attempt("chroot", lambda: os.chroot(inside))
attempt("unshare", call("unshare", 0x10000000))
attempt("memfd", lambda: os.memfd_create("hidden"))
attempt("shared memory", call("shmget", 0, 4096, 0o600))
attempt("pipe file", lambda: os.mkfifo(inside + "/pipe"))
attempt("device", lambda: os.mknod(inside + "/device", 0o20600, os.makedev(1, 3)))
attempt("bpf", call("syscall", 321 if os.uname().machine == "x86_64" else 280, 0, 0, 0))
attempt("io_uring", call("syscall", 425, 1, 0))
attempt("userfaultfd", call("syscall", 323 if os.uname().machine == "x86_64" else 282, 0))
attempt("set the clock", lambda: __import__("time").clock_settime(0, 0))
attempt("hostname", lambda: __import__("socket").sethostname("mine"))
"""
    )
    assert "done" not in found.values()
    assert {"Operation not permitted", "Permission denied"} >= set(found.values())


def test_threads_and_processes_of_its_own_work(box: Box) -> None:
    found = box.attempts(
        """
import subprocess, threading
thread = threading.Thread(target=lambda: None)
attempt("thread", lambda: (thread.start(), thread.join()))
attempt("process", lambda: subprocess.run([sys.executable, "-S", "-c", ""], check=True))
def end_child():
    child = subprocess.Popen([sys.executable, "-S", "-c", "import signal; signal.pause()"])
    child.kill()
    assert child.wait() == -9
attempt("signal its own", end_child)
"""
    )
    assert set(found.values()) == {"done"}


def test_a_file_beyond_the_limit_is_cut(box: Box) -> None:
    found = box.attempts(
        """
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
attempt("large", lambda: open(inside + "/large", "wb").write(bytes(2**21)))
"""
    )
    assert found == {"large": "File too large"}
    assert (box.inside / "large").stat().st_size <= 2**20


def test_a_missing_layer_that_is_required_stops_everything(box: Box) -> None:
    process, _ = box.start("open('ran', 'w').close()", require=("no such layer",))
    assert process.wait(timeout=30) == REFUSED
    process, report = _without_landlock(box)
    assert process.wait(timeout=30) == REFUSED
    assert "landlock" in report.missing
    assert not (box.inside / "ran").exists()


def _without_landlock(box: Box) -> tuple[Any, Report]:
    # As on a kernel that has none.
    module = box.packages / "service" / "worker" / "landlock.py"
    module.write_text(module.read_text().replace("_CREATE_RULESET = 444", "_CREATE_RULESET = 999"))
    return box.start("open('ran', 'w').close()", require=("landlock",))


def test_without_landlock_signals_are_filtered(box: Box) -> None:
    _without_landlock(box)[0].wait(timeout=30)
    found = box.attempts(
        """
attempt("parent", lambda: os.kill(parent, 0))
attempt("keeper", lambda: os.kill(keeper, 0))
attempt("itself", lambda: os.kill(os.getpid(), 0))
"""
    )
    assert found == {"parent": "Operation not permitted", "keeper": "Operation not permitted", "itself": "done"}


def test_where_namespaces_are_forbidden_sockets_stay_closed(box: Box, listener: socket.socket) -> None:
    # As in a container whose host refuses unshare.
    module = box.packages / "service" / "worker" / "confine.py"
    module.write_text(
        module.read_text().replace("def _leave_network() -> str:", "def _leave_network():\n    raise OSError")
    )
    process, report = box.start("")
    assert process.wait(timeout=30) == 0
    assert "netns" in report.missing
    found = box.attempts(
        'attempt("tcp", lambda: socket.create_connection(("127.0.0.1", int(port))))', listener.getsockname()[1]
    )
    assert found == {"tcp": "Operation not permitted"}


FAMILY = """
import os, signal, sys
if os.fork() == 0 and os.fork() == 0:
    os.close(1)
    signal.pause()
print(os.getpid(), flush=True)
signal.pause()
"""


def _descendants(keeper: int, count: int) -> list[psutil.Process]:
    found = psutil.Process(keeper).children(recursive=True)
    while len(found) < count:
        threading.Event().wait(0.01)
        found = psutil.Process(keeper).children(recursive=True)
    return found


def _wait_until_dead(processes: list[psutil.Process]) -> None:
    deadline = time.monotonic() + 10
    pause = threading.Event()
    # A zombie that nobody has waited for yet does nothing any more.
    while any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes):
        assert time.monotonic() < deadline
        pause.wait(0.01)


@pytest.mark.parametrize(
    "kill",
    [
        pytest.param(lambda process: process.stdin.close(), id="the worker dies"),
        pytest.param(lambda process: os.killpg(process.pid, signal.SIGKILL), id="the worker kills the group"),
    ],
)
def test_nobody_of_the_family_survives(box: Box, kill: Callable[[Any], None]) -> None:
    process, _ = box.start(FAMILY)
    process.stdout.readline()
    # The confined process, its child, and a grandchild.
    family = _descendants(process.pid, 3)
    kill(process)
    assert process.wait(timeout=10) == -signal.SIGKILL
    _wait_until_dead(family)


def test_the_confined_process_dies_with_its_keeper(box: Box) -> None:
    process, _ = box.start(FAMILY)
    process.stdout.readline()
    confined = psutil.Process(process.pid).children()
    os.kill(process.pid, signal.SIGKILL)
    process.wait(timeout=10)
    _wait_until_dead(confined)
    os.killpg(process.pid, signal.SIGKILL)


def test_the_exit_status_passes_through(box: Box) -> None:
    assert box.start("import os; os._exit(3)")[0].wait(timeout=30) == 3
    assert box.start("import os; os.abort()")[0].wait(timeout=30) == 128 + signal.SIGABRT


@pytest.mark.skipif(platform.machine() != "x86_64", reason="calls by another architecture's numbers")
def test_calls_of_another_architecture_kill(box: Box) -> None:
    # getpid by the numbers of x32: the filter would not recognise socket() there.
    program = "import ctypes; ctypes.CDLL(None).syscall(0x40000000 + 39)"
    assert box.start(program)[0].wait(timeout=30) == 128 + signal.SIGSYS
