"""The filter's program, run by a small interpreter of classic BPF: what each call comes to on each machine."""

import errno
import re
import socket
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.worker.seccomp import ABSENT, ALLOW, IGNORE, KILL, MACHINES, REFUSE, program

OWN = 4242
HEADERS = {
    "x86_64": Path("/usr/include/x86_64-linux-gnu/asm/unistd_64.h"),
    "aarch64": Path("/usr/include/asm-generic/unistd.h"),
}
# Calls that any Python process makes.
EVERYDAY = {
    "x86_64": {"read": 0, "write": 1, "mmap": 9, "exit": 60, "openat": 257, "futex": 202, "execve": 59, "wait4": 61},
    "aarch64": {"read": 63, "write": 64, "mmap": 222, "exit": 93, "openat": 56, "futex": 98, "execve": 221},
}

machines = pytest.mark.parametrize("machine", MACHINES)


def outcome(machine: str, number: int, *arguments: int, scoped: bool = True, arch: int | None = None) -> int:
    """What the filter answers to one call."""
    audit_arch = MACHINES[machine].audit_arch if arch is None else arch
    padded = [argument % 2**64 for argument in (*arguments, 0, 0, 0, 0, 0, 0)[:6]]
    data = struct.pack("<IIQ6Q", number, audit_arch, 0, *padded)
    code = list(struct.iter_unpack("=HBBI", program(MACHINES[machine], OWN, scoped)))
    accumulator = position = 0
    while True:
        operation, if_true, if_false, value = code[position]
        position += 1
        if operation == 0x20:
            (accumulator,) = struct.unpack_from("<I", data, value)
        elif operation == 0x54:
            accumulator &= value
        elif operation == 0x06:
            return value
        else:
            holds = {0x15: accumulator == value, 0x35: accumulator >= value, 0x45: accumulator & value != 0}[operation]
            position += if_true if holds else if_false


def named(machine: str, name: str, *arguments: int, scoped: bool = True) -> int:
    return outcome(machine, MACHINES[machine].numbers[name], *arguments, scoped=scoped)


@machines
def test_everyday_calls_pass(machine: str) -> None:
    assert {outcome(machine, number) for number in EVERYDAY[machine].values()} == {ALLOW}


@machines
@given(number=st.integers(0, 2**32 - 1), arch=st.integers(0, 2**32 - 1))
def test_another_architecture_is_killed(machine: str, number: int, arch: int) -> None:
    if arch != MACHINES[machine].audit_arch:
        assert outcome(machine, number, arch=arch) == KILL


@machines
@given(number=st.integers(467, 2**32 - 1))
def test_calls_newer_than_the_list_do_not_exist(machine: str, number: int) -> None:
    assert outcome(machine, number) == (KILL if number >= 0x40000000 else ABSENT)


@machines
def test_dangerous_calls_are_refused(machine: str) -> None:
    names = "ptrace process_vm_readv process_vm_writev mount bpf kexec_load keyctl userfaultfd perf_event_open connect"
    names += " unshare setns io_uring_setup memfd_create setsid setpgid pidfd_open pidfd_getfd open_by_handle_at"
    assert {name: named(machine, name) for name in names.split()} == dict.fromkeys(names.split(), REFUSE)


@machines
def test_changes_of_modes_are_told_to_have_worked(machine: str) -> None:
    names = ("fchmod", "fchmodat", "fchmodat2", "fchown", "fchownat", "utimensat", "setxattr")
    assert {named(machine, name) for name in names} == {IGNORE}


@machines
@given(family=st.integers(0, 2**31 - 1), kind=st.integers(0, 2**31 - 1))
def test_sockets_stay_within_the_host(machine: str, family: int, kind: int) -> None:
    allowed = family == socket.AF_UNIX and kind & 0xF == socket.SOCK_STREAM
    for name in ("socket", "socketpair"):
        assert named(machine, name, family, kind) == (ALLOW if allowed else REFUSE)
        assert named(machine, name, socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) == ALLOW


@machines
@given(flags=st.integers(0, 2**32 - 1))
def test_a_clone_makes_no_namespace(machine: str, flags: int) -> None:
    # CLONE_NEWTIME shares its bit with the exit signal here; clone cannot ask for it.
    namespaces = 0x7E020000
    if not flags & 0x80:
        assert named(machine, "clone", flags) == (REFUSE if flags & namespaces else ALLOW)
    assert named(machine, "clone3", flags) == ABSENT == (0x00050000 | errno.ENOSYS)


@machines
@given(pid=st.integers(-(2**31), 2**31 - 1))
def test_limits_and_processors_of_others_stay(machine: str, pid: int) -> None:
    own = pid in (0, OWN)
    assert named(machine, "prlimit64", pid) == (ALLOW if own else REFUSE)
    assert named(machine, "sched_setaffinity", pid) == (ALLOW if own else IGNORE)
    assert named(machine, "setpriority", 0, pid) == (ALLOW if pid == 0 else REFUSE)


@machines
@given(pid=st.integers(-(2**31), 2**31 - 1))
def test_signals_are_filtered_where_landlock_does_not_scope_them(machine: str, pid: int) -> None:
    assert {named(machine, name, pid) for name in ("kill", "tgkill", "tkill")} == {ALLOW}
    own = ALLOW if pid in (0, OWN) else REFUSE
    assert named(machine, "kill", pid, scoped=False) == own
    assert named(machine, "tgkill", pid, scoped=False) == own
    assert named(machine, "tkill", pid, scoped=False) == REFUSE


@machines
@given(option=st.integers(0, 2**31 - 1))
def test_nobody_outlives_his_parent(machine: str, option: int) -> None:
    assert named(machine, "prctl", option) == (REFUSE if option == 1 else ALLOW)


@machines
def test_the_numbers_are_the_kernels(machine: str) -> None:
    if not HEADERS[machine].exists():
        pytest.skip("the kernel's headers are not installed")
    text = HEADERS[machine].read_text()
    known = {name: int(number) for name, number in re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", text)}
    ours = MACHINES[machine].numbers
    # Headers may be older than the newest calls.
    assert {name: number for name, number in ours.items() if known.get(name, number) != number} == {}
    assert len(ours.keys() & known.keys()) > 0.9 * len(ours)


@machines
def test_the_program_fits_the_kernel(machine: str) -> None:
    assert len(program(MACHINES[machine], OWN, False)) // 8 <= 4096
