"""Landlock by raw system calls: from now on this process reads and writes below the named paths only.

Follows the kernel's userspace-api/landlock document. Standard library only. What an older kernel does not know is left
out of the rule set; `version` says how much it knows.
"""

import ctypes
import errno
import os
import stat
import struct
from collections.abc import Iterable

from service.worker import kernel

_CREATE_RULESET = 444
_ADD_RULE = 445
_RESTRICT_SELF = 446
_CREATE_RULESET_VERSION = 1
_RULE_PATH_BENEATH = 1

_EXECUTE = 1 << 0
_WRITE_FILE = 1 << 1
_READ_FILE = 1 << 2
_READ_DIR = 1 << 3
_REMOVE_DIR = 1 << 4
_REMOVE_FILE = 1 << 5
_MAKE_CHAR = 1 << 6
_MAKE_DIR = 1 << 7
_MAKE_REG = 1 << 8
_MAKE_SOCK = 1 << 9
_MAKE_FIFO = 1 << 10
_MAKE_BLOCK = 1 << 11
_MAKE_SYM = 1 << 12
_REFER = 1 << 13
_TRUNCATE = 1 << 14
_IOCTL_DEV = 1 << 15

# Rights that a rule on something else than a directory may carry.
_ON_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV

READ = _EXECUTE | _READ_FILE | _READ_DIR
# Neither devices, sockets nor pipes. Links may be made: they lead nobody further than where he may go anyway, and the
# worker follows none when it takes results out.
WRITE = (
    _READ_FILE | _READ_DIR | _WRITE_FILE | _TRUNCATE | _REMOVE_DIR | _REMOVE_FILE | _MAKE_DIR | _MAKE_REG | _MAKE_SYM
    | _REFER
)  # fmt: skip
# A file that is there already: a device, or the machine-wide lock.
DEVICE = _READ_FILE | _WRITE_FILE | _TRUNCATE | _IOCTL_DEV

_BIND_TCP = 1 << 0
_CONNECT_TCP = 1 << 1
_SCOPE_ABSTRACT_UNIX_SOCKET = 1 << 0
_SCOPE_SIGNAL = 1 << 1


def version() -> int:
    """The kernel's Landlock ABI; 0 when there is none."""
    try:
        return kernel.syscall(_CREATE_RULESET, None, 0, _CREATE_RULESET_VERSION)
    except (OSError, AttributeError):
        return 0


def handled(abi: int) -> tuple[int, int, int]:
    """What a rule set of this ABI restricts: file system rights, network rights, scopes."""
    files = (1 << 13) - 1
    if abi >= 2:
        files |= _REFER
    if abi >= 3:
        files |= _TRUNCATE
    if abi >= 5:
        files |= _IOCTL_DEV
    network = _BIND_TCP | _CONNECT_TCP if abi >= 4 else 0
    scopes = _SCOPE_ABSTRACT_UNIX_SOCKET | _SCOPE_SIGNAL if abi >= 6 else 0
    return files, network, scopes


def scopes_signals(abi: int) -> bool:
    """Whether the confined can send signals to nobody but the confined."""
    return handled(abi)[2] & _SCOPE_SIGNAL != 0


def restrict(rules: Iterable[tuple[str, int]]) -> int:
    """Confines this thread and its children to the rules' paths for good, and returns the ABI in force.

    A rule is a path (and everything below it) with rights; a path that is absent or unreadable is left out. The caller
    has set no_new_privs. Raises OSError when there is no Landlock.
    """
    abi = version()
    if abi == 0:
        raise OSError(errno.ENOSYS, "this kernel has no Landlock, or it is switched off")
    files, network, scopes = handled(abi)
    # struct landlock_ruleset_attr: a longer one than the kernel knows is refused, so give it what it knows.
    fields = struct.pack("QQQ", files, network, scopes)[: 8 if abi < 4 else 16 if abi < 6 else 24]
    attributes = ctypes.create_string_buffer(fields, len(fields))
    ruleset = kernel.syscall(_CREATE_RULESET, attributes, len(fields), 0)
    try:
        for path, rights in rules:
            _allow(ruleset, path, rights & files)
        kernel.syscall(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
    return abi


def _allow(ruleset: int, path: str, rights: int) -> None:
    try:
        target = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not stat.S_ISDIR(os.fstat(target).st_mode):
            rights &= _ON_FILES
        # struct landlock_path_beneath_attr, packed.
        rule = ctypes.create_string_buffer(struct.pack("=Qi", rights, target), 12)
        kernel.syscall(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, rule, 0)
    finally:
        os.close(target)
