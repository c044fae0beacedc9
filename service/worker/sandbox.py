"""What a trial's confined process gets: the paths that it may open, an environment, a command line."""

import os
import sys
import sysconfig
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import optimizer
import service
from optimizer.artifact.session import usable_cores
from service.worker.confine import LAYERS, Plan

# A network namespace needs rights that many container hosts withhold. Without one seccomp still refuses every
# socket that could leave the process, so this layer is taken where it is to be had.
REQUIRED_LAYERS = tuple(name for name in LAYERS if name != "netns")

# Of a stranger's checkpoint these reveal nothing but what kind of host this is.
_SYSTEM = (
    "/usr", "/lib", "/lib64", "/bin",
    "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/localtime", "/etc/mime.types",
    "/etc/nsswitch.conf", "/etc/os-release", "/etc/ssl/openssl.cnf",
    "/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/version", "/proc/filesystems",
    "/proc/sys/vm/overcommit_memory", "/proc/sys/vm/max_map_count", "/proc/driver/nvidia", "/proc/devices",
    "/sys/devices/system/cpu", "/sys/devices/system/node", "/sys/fs/cgroup/cpu.max", "/sys/fs/cgroup/memory.max",
    "/sys/module/nvidia", "/sys/module/nvidia_uvm", "/sys/bus/pci/devices",
    "/dev/urandom", "/dev/random", "/dev/zero",
)  # fmt: skip
_DEVICES = ("/dev/null",)
_GPU_DEVICES = ("/dev/nvidia*", "/dev/nvidia-caps/*")

# Everything else in the worker's environment may be a secret.
_INHERITED = ("LD_LIBRARY_PATH", "CUDA_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES", "TZ")
_THREAD_COUNTS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")


def readable_paths(environment: Mapping[str, str]) -> list[str]:
    """What any Python process needs: the interpreter, the installed packages, ours, and the system's libraries."""
    paths = sysconfig.get_paths()
    roots = [sys.prefix, sys.base_prefix, paths["stdlib"], paths["platstdlib"], paths["purelib"], paths["platlib"]]
    roots += [str(_package(optimizer)), str(_package(service))]
    roots += [path for path in environment.get("LD_LIBRARY_PATH", "").split(":") if path.startswith("/")]
    return [*sorted({os.path.realpath(root) for root in roots}), *_SYSTEM]


def device_paths() -> list[str]:
    """Devices that may be opened for writing: /dev/null, and the GPUs' where there are any."""
    gpus = [str(path) for pattern in _GPU_DEVICES for path in Path("/").glob(pattern.removeprefix("/"))]
    return [*_DEVICES, *sorted(gpus)]


def link_packages(directory: Path) -> None:
    """Makes our two packages importable from `directory` without showing what lies beside them."""
    directory.mkdir()
    for package in (optimizer, service):
        source = _package(package)
        (directory / source.name).symlink_to(source)


def environment(inherited: Mapping[str, str], packages: Path, scratch: Path) -> dict[str, str]:
    """A scrubbed environment: no secrets, nothing downloaded, every cache below `scratch`."""
    return {
        **{name: inherited[name] for name in _INHERITED if name in inherited},
        **dict.fromkeys(_THREAD_COUNTS, str(usable_cores())),
        "PATH": "/usr/bin:/bin",
        "LANG": "C.UTF-8",
        # Looked up by libraries that name a cache directory after the user.
        "USER": "stillroom",
        "LOGNAME": "stillroom",
        "HOME": str(scratch / "home"),
        "TMPDIR": str(scratch / "tmp"),
        "XDG_CACHE_HOME": str(scratch / "home"),
        "HF_HOME": str(scratch / "home"),
        "CUDA_CACHE_PATH": str(scratch / "home"),
        "MPLCONFIGDIR": str(scratch / "home"),
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "PYTHONPATH": str(packages),
        "PYTHONSAFEPATH": "1",
        "PYTHONNOUSERSITE": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONUNBUFFERED": "1",
        "PYTHONUTF8": "1",
    }


def command_line(plan: Plan, command: Sequence[str]) -> list[str]:
    """The launcher with `command` behind it. Without `site`, so that it starts in a few hundredths of a second."""
    return [sys.executable, "-S", "-m", "service.worker.confine", plan.to_json(), "--", *command]


def plan(
    read: Iterable[Path],
    write: Iterable[Path],
    devices: Iterable[Path],
    inherited: Mapping[str, str],
    require: bool,
    report_fd: int,
    max_file_bytes: int,
    cpu_seconds: int,
) -> Plan:
    """The plan of one trial: the paths given, and those that every trial needs."""
    return Plan(
        read=[*readable_paths(inherited), *map(str, read)],
        write=[str(path) for path in write],
        devices=[*device_paths(), *map(str, devices)],
        require=list(REQUIRED_LAYERS) if require else [],
        report_fd=report_fd,
        max_file_bytes=max_file_bytes,
        cpu_seconds=cpu_seconds,
    )


def _package(module: object) -> Path:
    file = getattr(module, "__file__", None)
    assert file is not None
    return Path(file).resolve().parent
