"""The system call filter of a trial, assembled by hand into classic BPF; pure but for `install`. Standard library only.

Landlock decides which files may be opened. This filter closes what Landlock does not see: sockets, other processes,
kernel interfaces with a history of holes, memory that counts for nobody, and changes of files' modes and owners.
"""

import errno
import socket
import struct
from dataclasses import dataclass

from service.worker import kernel

# struct seccomp_data { int nr; u32 arch; u64 instruction_pointer; u64 args[6]; }, little-endian.
_NR = 0
_ARCH = 4
_ARGUMENTS = 16

_LOAD = 0x20
_JUMP_EQUAL = 0x15
_JUMP_AT_LEAST = 0x35
_JUMP_ANY_BIT = 0x45
_AND = 0x54
_RETURN = 0x06

ALLOW = 0x7FFF0000
KILL = 0x80000000
_ERRNO = 0x00050000
REFUSE = _ERRNO | errno.EPERM
ABSENT = _ERRNO | errno.ENOSYS
# The caller is told that it worked.
IGNORE = _ERRNO

# Newer calls than this list knows (Linux 6.14) do not exist for a trial.
_HIGHEST_CALL = 466
_X32_BIT = 0x40000000
_NAMESPACE_FLAGS = 0x7E020080


@dataclass(frozen=True)
class Machine:
    """Audit number and call numbers of an architecture; calls that it does not have are left out."""

    audit_arch: int
    numbers: dict[str, int]


# The same on every architecture.
_COMMON = {
    "pidfd_send_signal": 424, "io_uring_setup": 425, "io_uring_enter": 426, "io_uring_register": 427,
    "open_tree": 428, "move_mount": 429, "fsopen": 430, "fsconfig": 431, "fsmount": 432, "fspick": 433,
    "pidfd_open": 434, "clone3": 435, "pidfd_getfd": 438, "process_madvise": 440, "mount_setattr": 442,
    "quotactl_fd": 443, "memfd_secret": 447, "process_mrelease": 448, "fchmodat2": 452, "setxattrat": 463,
    "removexattrat": 466,
}  # fmt: skip

MACHINES = {
    "x86_64": Machine(
        0xC000003E,
        _COMMON
        | {
            "shmget": 29, "shmat": 30, "shmctl": 31, "socket": 41, "connect": 42, "socketpair": 53, "clone": 56,
            "kill": 62, "semget": 64, "semop": 65, "semctl": 66, "shmdt": 67, "msgget": 68, "msgsnd": 69,
            "msgrcv": 70, "msgctl": 71, "chmod": 90, "fchmod": 91, "chown": 92, "fchown": 93, "lchown": 94,
            "ptrace": 101, "syslog": 103, "setpgid": 109, "setsid": 112, "rt_sigqueueinfo": 129, "utime": 132,
            "personality": 135, "setpriority": 141, "sched_setparam": 142, "sched_setscheduler": 144,
            "vhangup": 153, "modify_ldt": 154, "pivot_root": 155, "prctl": 157, "adjtimex": 159, "chroot": 161,
            "acct": 163, "settimeofday": 164, "mount": 165, "umount2": 166, "swapon": 167, "swapoff": 168,
            "reboot": 169, "sethostname": 170, "setdomainname": 171, "iopl": 172, "ioperm": 173,
            "init_module": 175, "delete_module": 176, "quotactl": 179, "nfsservctl": 180, "setxattr": 188,
            "lsetxattr": 189, "fsetxattr": 190, "removexattr": 197, "lremovexattr": 198, "fremovexattr": 199,
            "tkill": 200, "sched_setaffinity": 203, "lookup_dcookie": 212, "semtimedop": 220,
            "clock_settime": 227, "tgkill": 234, "utimes": 235, "mq_open": 240, "mq_unlink": 241,
            "mq_timedsend": 242, "mq_timedreceive": 243, "mq_notify": 244, "mq_getsetattr": 245,
            "kexec_load": 246, "add_key": 248, "request_key": 249, "keyctl": 250, "ioprio_set": 251,
            "inotify_init": 253, "fchownat": 260, "futimesat": 261, "fchmodat": 268, "unshare": 272,
            "utimensat": 280, "inotify_init1": 294, "rt_tgsigqueueinfo": 297, "perf_event_open": 298,
            "fanotify_init": 300, "fanotify_mark": 301, "prlimit64": 302, "name_to_handle_at": 303,
            "open_by_handle_at": 304, "clock_adjtime": 305, "setns": 308, "process_vm_readv": 310,
            "process_vm_writev": 311, "kcmp": 312, "finit_module": 313, "sched_setattr": 314,
            "memfd_create": 319, "kexec_file_load": 320, "bpf": 321, "userfaultfd": 323,
        },
    ),
    "aarch64": Machine(
        0xC00000B7,
        _COMMON
        | {
            "setxattr": 5, "lsetxattr": 6, "fsetxattr": 7, "removexattr": 14, "lremovexattr": 15,
            "fremovexattr": 16, "lookup_dcookie": 18, "inotify_init1": 26, "ioprio_set": 30, "umount2": 39,
            "mount": 40, "pivot_root": 41, "nfsservctl": 42, "chroot": 51, "fchmod": 52, "fchmodat": 53,
            "fchownat": 54, "fchown": 55, "vhangup": 58, "quotactl": 60, "utimensat": 88, "acct": 89,
            "personality": 92, "unshare": 97, "kexec_load": 104, "init_module": 105, "delete_module": 106,
            "clock_settime": 112, "syslog": 116, "ptrace": 117, "sched_setparam": 118,
            "sched_setscheduler": 119, "sched_setaffinity": 122, "kill": 129, "tkill": 130, "tgkill": 131,
            "rt_sigqueueinfo": 138, "setpriority": 140, "reboot": 142, "setpgid": 154, "setsid": 157,
            "sethostname": 161, "setdomainname": 162, "prctl": 167, "settimeofday": 170, "adjtimex": 171,
            "mq_open": 180, "mq_unlink": 181, "mq_timedsend": 182, "mq_timedreceive": 183, "mq_notify": 184,
            "mq_getsetattr": 185, "msgget": 186, "msgctl": 187, "msgrcv": 188, "msgsnd": 189, "semget": 190,
            "semctl": 191, "semtimedop": 192, "semop": 193, "shmget": 194, "shmctl": 195, "shmat": 196,
            "shmdt": 197, "socket": 198, "socketpair": 199, "connect": 203, "add_key": 217,
            "request_key": 218, "keyctl": 219, "clone": 220, "swapon": 224, "swapoff": 225,
            "rt_tgsigqueueinfo": 240, "perf_event_open": 241, "prlimit64": 261, "fanotify_init": 262,
            "fanotify_mark": 263, "name_to_handle_at": 264, "open_by_handle_at": 265, "clock_adjtime": 266,
            "setns": 268, "process_vm_readv": 270, "process_vm_writev": 271, "kcmp": 272,
            "finit_module": 273, "sched_setattr": 274, "memfd_create": 279, "bpf": 280,
            "userfaultfd": 282, "kexec_file_load": 294,
        },
    ),
}  # fmt: skip

# Changes that libraries make by the way (shutil.copy) and that must not reach files outside: answered, not done.
_IGNORED = (
    "chmod", "fchmod", "fchmodat", "fchmodat2", "chown", "fchown", "lchown", "fchownat",
    "utime", "utimes", "futimesat", "utimensat",
    "setxattr", "lsetxattr", "fsetxattr", "setxattrat", "removexattr", "lremovexattr", "fremovexattr", "removexattrat",
)  # fmt: skip

# Decided by their arguments, in `_conditions`.
_CONDITIONAL = (
    "socket", "socketpair", "clone", "clone3", "prctl", "prlimit64", "setpriority", "sched_setaffinity",
    "kill", "tgkill", "tkill",
)  # fmt: skip

_Instruction = tuple[int, int, int, int]


def program(machine: Machine, own_pid: int, signals_are_scoped: bool) -> bytes:
    """The filter as BPF, for the process `own_pid`.

    `signals_are_scoped` says that Landlock keeps signals among the confined; if it does not, a process may signal only
    `own_pid`.
    """
    numbers = machine.numbers
    code: list[_Instruction] = [
        (_LOAD, 0, 0, _ARCH),
        # Another architecture's calls have other numbers: a filter that lets them pass filters nothing.
        *_unless_equal(machine.audit_arch, KILL),
        (_LOAD, 0, 0, _NR),
        # On x86-64 a second set of numbers for the same calls; elsewhere nothing is so high.
        (_JUMP_AT_LEAST, 0, 1, _X32_BIT),
        (_RETURN, 0, 0, KILL),
        (_JUMP_AT_LEAST, 0, 1, _HIGHEST_CALL + 1),
        (_RETURN, 0, 0, ABSENT),
    ]
    for name, block in _conditions(own_pid, signals_are_scoped).items():
        code += [(_JUMP_EQUAL, 0, len(block), numbers[name]), *block]
    for name, number in numbers.items():
        if name not in _CONDITIONAL:
            code += [(_JUMP_EQUAL, 0, 1, number), (_RETURN, 0, 0, IGNORE if name in _IGNORED else REFUSE)]
    code.append((_RETURN, 0, 0, ALLOW))
    return b"".join(struct.pack("=HBBI", *instruction) for instruction in code)


def install(machine: str, own_pid: int, signals_are_scoped: bool) -> None:
    """Filters this thread and its children for good; no_new_privs is set. Raises OSError, KeyError for a machine."""
    kernel.set_seccomp_filter(program(MACHINES[machine], own_pid, signals_are_scoped))


def _conditions(own_pid: int, signals_are_scoped: bool) -> dict[str, list[_Instruction]]:
    allow = (_RETURN, 0, 0, ALLOW)
    refuse = (_RETURN, 0, 0, REFUSE)
    unix_stream = [
        _load_argument(0),
        *_unless_equal(socket.AF_UNIX, REFUSE),
        _load_argument(1),
        # Without SOCK_NONBLOCK and SOCK_CLOEXEC. A datagram socket would reach any socket file by sendto.
        (_AND, 0, 0, 0xF),
        *_unless_equal(socket.SOCK_STREAM, REFUSE),
        allow,
    ]
    own_process = [_load_argument(0), (_JUMP_EQUAL, 2, 0, 0), (_JUMP_EQUAL, 1, 0, own_pid), refuse, allow]
    conditions = {
        # Nothing can be connected to (`connect` is refused), so a Unix socket serves within the trial only.
        "socket": unix_stream,
        "socketpair": unix_stream,
        "clone": [_load_argument(0), (_JUMP_ANY_BIT, 0, 1, _NAMESPACE_FLAGS), refuse, allow],
        # Its flags lie behind a pointer, out of a filter's sight; the C library falls back to clone.
        "clone3": [(_RETURN, 0, 0, ABSENT)],
        "prctl": [_load_argument(0), (_JUMP_EQUAL, 0, 1, kernel.PR_SET_PDEATHSIG), refuse, allow],
        "prlimit64": own_process,
        # onnxruntime pins each of its threads by number; it is told that it worked.
        "sched_setaffinity": [*own_process[:-2], (_RETURN, 0, 0, IGNORE), allow],
        # "which" is not looked at: 0 is this process, group or user, and only less priority can be asked for.
        "setpriority": [_load_argument(1), *_unless_equal(0, REFUSE), allow],
    }
    if not signals_are_scoped:
        conditions |= {"kill": own_process, "tgkill": own_process, "tkill": [refuse]}
    return conditions


def _load_argument(index: int) -> _Instruction:
    # The lower half: all arguments that are looked at are ints.
    return (_LOAD, 0, 0, _ARGUMENTS + 8 * index)


def _unless_equal(value: int, action: int) -> list[_Instruction]:
    return [(_JUMP_EQUAL, 1, 0, value), (_RETURN, 0, 0, action)]
