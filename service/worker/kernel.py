"""Thin calls into the Linux kernel that Python's `os` lacks: prctl, capset, raw system calls, errors as OSError.

Standard library only: the launcher of the sandbox imports it before anything else may run.
"""

import ctypes
import os
import struct
import sys

PR_SET_PDEATHSIG = 1
PR_SET_SECCOMP = 22
PR_CAPBSET_DROP = 24
PR_SET_SECUREBITS = 28
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47

_PR_CAP_AMBIENT_CLEAR_ALL = 4
_SECCOMP_MODE_FILTER = 2
# SECBIT_NOROOT and SECBIT_NO_SETUID_FIXUP, each with its lock: uid 0 means nothing any more, and for good.
_NO_ROOT_PRIVILEGES = 0x01 | 0x02 | 0x04 | 0x08
_CAPABILITY_VERSION_3 = 0x20080522
_HIGHEST_CAPABILITY = 63
_CAPGET = {"x86_64": 125, "aarch64": 90}
_CAPSET = {"x86_64": 126, "aarch64": 91}

CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000


def is_linux() -> bool:
    """Whether any of this module can work."""
    return sys.platform == "linux"


def syscall(number: int, *arguments: int | bytes | ctypes.Array[ctypes.c_char] | None) -> int:
    """One system call; integers are passed as 64 bits, buffers as their address. Raises OSError."""
    libc = _libc()
    converted = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    result: int = libc.syscall(ctypes.c_long(number), *converted)
    if result == -1:
        _fail()
    return result


def prctl(option: int, *arguments: int) -> None:
    """prctl(2) with integer arguments. Raises OSError."""
    padded = [ctypes.c_ulong(value) for value in (*arguments, 0, 0, 0, 0)[:4]]
    if _libc().prctl(option, *padded) == -1:
        _fail()


def unshare(flags: int) -> None:
    """unshare(2). Raises OSError."""
    if _libc().unshare(flags) == -1:
        _fail()


def set_seccomp_filter(program: bytes) -> None:
    """Installs a BPF program (8 bytes an instruction) for this thread and its children. Raises OSError."""
    code = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog { unsigned short len; struct sock_filter *filter; }
    header = ctypes.create_string_buffer(struct.pack("HxxxxxxQ", len(program) // 8, ctypes.addressof(code)))
    prctl(PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, ctypes.addressof(header))


def drop_capabilities() -> None:
    """Gives up every capability, also those that a root process would regain by exec. Raises OSError."""
    number = os.uname().machine
    header = ctypes.create_string_buffer(struct.pack("Ii", _CAPABILITY_VERSION_3, 0))
    held = ctypes.create_string_buffer(24)
    syscall(_CAPGET[number], header, held)
    effective = struct.unpack("6I", held.raw)[0::3]
    if any(effective):
        prctl(PR_SET_SECUREBITS, _NO_ROOT_PRIVILEGES)
        for capability in range(_HIGHEST_CAPABILITY + 1):
            try:
                prctl(PR_CAPBSET_DROP, capability)
            except OSError:
                # The first number that this kernel does not know.
                break
        prctl(PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    syscall(_CAPSET[number], header, ctypes.create_string_buffer(24))


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _fail() -> None:
    number = ctypes.get_errno()
    raise OSError(number, os.strerror(number))
