"""`python -m service.worker.confine PLAN -- COMMAND...`: runs a command that cannot harm this host.

Two processes. The keeper stays outside: it is the leader of the trial's process group and kills the whole group when
its standard input ends, which happens when the worker dies in whatever way. The confined process takes off its rights
layer by layer, says on `report_fd` which layers hold, and becomes the command.

Standard library only and few modules of it: nothing that a stranger could influence has run when the layers close.
"""

import contextlib
import json
import os
import resource
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

from service.worker import kernel, landlock, seccomp

# In the order in which a level names them.
LAYERS = ("no_new_privs", "capabilities", "pdeathsig", "rlimits", "landlock", "seccomp", "netns")

# Exit statuses of the launcher itself, as shells use them.
REFUSED = 125
NOT_STARTED = 127


@dataclass(frozen=True)
class Plan:
    """What the confined process may do. Paths are absolute; those that do not exist are left out."""

    read: list[str]
    write: list[str]
    # Files that may be opened for writing, but neither made nor removed.
    devices: list[str]
    # Layers without which the command must not run.
    require: list[str]
    report_fd: int
    max_file_bytes: int
    cpu_seconds: int
    max_open_files: int = 4096
    # Of the user, all together; root is exempt.
    max_processes: int = 4096
    niceness: int = 10

    def to_json(self) -> str:
        """The plan as the launcher's first argument."""
        return json.dumps(asdict(self))


@dataclass
class Report:
    """Which layers hold: those reached (with a detail, or ""), and those missing with the reason."""

    reached: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    @property
    def level(self) -> str:
        """The layers reached, as one word: "no_new_privs,...,landlock:7,..."."""
        names = [name for name in LAYERS if name in self.reached]
        return ",".join(f"{name}:{self.reached[name]}" if self.reached[name] else name for name in names)


def apply(plan: Plan) -> Report:
    """Confines the calling process, which has one thread, for good. A layer that fails is missing from the report."""
    report = Report()
    keeper = os.getppid()
    steps: dict[str, Callable[[], str]] = {
        "netns": _leave_network,
        "no_new_privs": _no_new_privileges,
        "capabilities": _drop_capabilities,
        # After whatever changes credentials, since the kernel forgets it then.
        "pdeathsig": lambda: _die_with(keeper),
        "rlimits": lambda: _limit_resources(plan),
        "landlock": lambda: _close_files(plan),
        "seccomp": lambda: _filter_calls(landlock_abi=int(report.reached.get("landlock", "0"))),
    }
    for name, step in steps.items():
        try:
            report.reached[name] = step()
        except (OSError, AttributeError, KeyError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else "not on this system"
            report.missing[name] = reason
    return report


def main(arguments: list[str]) -> None:
    """Never returns: exits with the command's status (128 + signal), REFUSED or NOT_STARTED."""
    plan = Plan(**json.loads(arguments[0]))
    command = arguments[arguments.index("--") + 1 :]
    with contextlib.suppress(OSError, AttributeError):
        # Orphans of the trial stay below the keeper, where the worker's memory watchdog counts them.
        kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
    child = os.fork()
    if child == 0:
        _become(plan, command)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.close(plan.report_fd)
    # The trial's output must end with the trial, so the keeper holds no end of it.
    os.dup2(nothing, 1)
    os.dup2(nothing, 2)
    threading.Thread(target=_kill_group_at_end_of_input, daemon=True).start()
    while True:
        ended, status = os.wait()
        if ended == child:
            code = os.waitstatus_to_exitcode(status)
            os._exit(code if code >= 0 else 128 - code)


def _become(plan: Plan, command: list[str]) -> None:
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.umask(0o077)
        report = apply(plan)
        refused = [name for name in plan.require if name not in report.reached]
        os.write(plan.report_fd, json.dumps(asdict(report)).encode() + b"\n")
        os.close(plan.report_fd)
        if refused:
            os._exit(REFUSED)
        os.execv(command[0], command)  # noqa: S606 - a list, and no shell
    except OSError as error:
        sys.stderr.write(f"cannot start {command[0]}: {error.strerror}\n")
    finally:
        # Whatever happened, this process must not go on as a second keeper.
        sys.stderr.flush()
        os._exit(NOT_STARTED)


def _kill_group_at_end_of_input() -> None:
    while os.read(0, 4096):
        pass
    os.killpg(0, signal.SIGKILL)


def _leave_network() -> str:
    try:
        kernel.unshare(kernel.CLONE_NEWNET)
    except PermissionError:
        # An ordinary user gets one inside a user namespace of its own, under the same numbers.
        user, group = os.geteuid(), os.getegid()
        kernel.unshare(kernel.CLONE_NEWUSER | kernel.CLONE_NEWNET)
        for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
            with contextlib.suppress(OSError), open(f"/proc/self/{name}", "w") as stream:
                stream.write(text)
    return ""


def _no_new_privileges() -> str:
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    return ""


def _drop_capabilities() -> str:
    kernel.drop_capabilities()
    return ""


def _die_with(keeper: int) -> str:
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != keeper:
        # It died before the line above.
        os._exit(NOT_STARTED)
    return ""


def _limit_resources(plan: Plan) -> str:
    os.nice(plan.niceness)
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as stream:
        # When the host runs out of memory, a trial goes before any process that serves.
        stream.write("1000")
    limits = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: plan.max_file_bytes,
        resource.RLIMIT_CPU: plan.cpu_seconds,
        resource.RLIMIT_NOFILE: plan.max_open_files,
        resource.RLIMIT_NPROC: plan.max_processes,
    }
    for which, limit in limits.items():
        present = resource.getrlimit(which)[1]
        value = limit if present == resource.RLIM_INFINITY else min(limit, present)
        resource.setrlimit(which, (value, value))
    return ""


def _close_files(plan: Plan) -> str:
    # Landlock knows /proc/self by its inode, which lives as long as somebody holds it open: so stay open over exec.
    os.set_inheritable(os.open("/proc/self", os.O_PATH), True)
    rules = [(path, landlock.READ) for path in (*plan.read, "/proc/self")]
    rules += [(path, landlock.WRITE) for path in plan.write]
    rules += [(path, landlock.DEVICE) for path in plan.devices]
    return str(landlock.restrict(rules))


def _filter_calls(landlock_abi: int) -> str:
    seccomp.install(os.uname().machine, os.getpid(), landlock.scopes_signals(landlock_abi))
    return ""


if __name__ == "__main__":
    main(sys.argv[1:])
