"""The host's fingerprint: what figures were measured on, and what results made for one target depend on."""

import platform
import re
from pathlib import Path

import onnxruntime as ort

from optimizer.artifact.manifest import Hardware
from optimizer.artifact.session import Target, usable_cores

_CPUINFO = Path("/proc/cpuinfo")
_GPUS = Path("/proc/driver/nvidia/gpus")
# Flags that choose onnxruntime's kernels, by the kernel's names (x86, then ARM), weakest first.
_ISA = (
    "sse4_1", "avx", "f16c", "fma", "avx2", "avx_vnni", "avx512f", "avx512bw", "avx512_vnni", "avx512_bf16",
    "avx512_fp16", "amx_bf16", "amx_int8", "asimd", "asimdhp", "asimddp", "i8mm", "bf16", "sve",
)  # fmt: skip


def fingerprint(cpuinfo: Path = _CPUINFO, gpus: Path = _GPUS) -> Hardware:
    """What this host is. Reads two files of the kernel; starts nothing and never imports torch."""
    try:
        text = cpuinfo.read_text(errors="replace")
    except OSError:
        text = ""
    name = _field(text, "model name", "Model", "Hardware") or platform.processor() or platform.machine()
    flags = set((_field(text, "flags", "Features") or "").split())
    return Hardware(
        cpu=" ".join(name.split()),
        cores=usable_cores(),
        isa=tuple(flag for flag in _ISA if flag in flags) or (platform.machine(),),
        gpu=_gpu(gpus),
        onnxruntime=ort.__version__,
    )


def target_fingerprint(hardware: Hardware, target: Target) -> str:
    """What a cached result made for `target` depends on: the instruction sets, or the device."""
    return f"cuda:{hardware.gpu or 'unknown'}" if target == "cuda" else f"cpu:{','.join(hardware.isa)}"


def _field(text: str, *names: str) -> str | None:
    for name in names:
        found = re.search(rf"^{re.escape(name)}\s*:\s*(.+)$", text, re.MULTILINE)
        if found:
            return found[1].strip()
    return None


def _gpu(directory: Path) -> str | None:
    try:
        cards = sorted(directory.iterdir())
    except OSError:
        return None
    for card in cards:
        try:
            name = _field((card / "information").read_text(errors="replace"), "Model")
        except OSError:
            continue
        return name or "NVIDIA"
    return None
