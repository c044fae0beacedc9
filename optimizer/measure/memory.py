"""Peak memory of a model: how much a fresh process grows while it loads the file and answers a large batch.

A fresh process is the only honest one: in a process that has run before, freed memory is used again and growth hides.
It imports onnxruntime and nothing heavier; what it had before loading is not counted.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from numpy.typing import NDArray

from optimizer.artifact.session import SessionSpec, build
from optimizer.errors import PassFailed

_TIMEOUT_SECONDS = 300.0
_CALLS = 2


def peak_growth_bytes(model: Path, inputs: dict[str, NDArray[Any]], spec: SessionSpec, scratch: Path) -> int:
    """Largest growth of resident memory while loading `model` and answering `inputs`, in a process of its own.

    Memory of a GPU does not count. `scratch` is a writable directory. Raises PassFailed when the process ends early.
    """
    with tempfile.TemporaryDirectory(dir=scratch, prefix="memory-") as directory:
        feeds = Path(directory) / "feeds.npz"
        order = Path(directory) / "order.json"
        with feeds.open("wb") as stream:
            np.savez(stream, allow_pickle=False, **{f"input.{name}": array for name, array in inputs.items()})
        order.write_text(json.dumps({"model": str(model), "feeds": str(feeds), "session": spec.model_dump()}))
        try:
            done = subprocess.run(
                [sys.executable, "-m", "optimizer.measure.memory", str(order)],
                capture_output=True,
                text=True,
                timeout=_TIMEOUT_SECONDS,
                check=True,
                # The child finds this package where it lies, installed or not.
                env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
            )
            return int(done.stdout)
        except (OSError, subprocess.SubprocessError, ValueError) as error:
            raise PassFailed("the model's memory cannot be measured: its process ended without a figure") from error


def _growth_bytes(model: Path, inputs: dict[str, NDArray[Any]], spec: SessionSpec) -> int:
    before = _forget_peak_bytes()
    session = build(model, spec)
    for _ in range(_CALLS):
        session.run(None, inputs)
    return max(0, _peak_bytes() - before)


def _forget_peak_bytes() -> int:
    """Starts the peak anew where the kernel allows it; returns the resident memory to count from."""
    try:
        # 5 resets VmHWM to the present VmRSS, see proc_pid_clear_refs(5).
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        # What importing took at its peak is then not counted twice.
        return _peak_bytes()
    return int(psutil.Process().memory_info().rss)


def _peak_bytes() -> int:
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        # Elsewhere than on Linux; macOS counts bytes.
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Not ru_maxrss, which on Linux a process inherits from the one that started it.
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def _main(order_file: str) -> None:
    order = json.loads(Path(order_file).read_text())
    with np.load(order["feeds"], allow_pickle=False) as archive:
        inputs = {name.removeprefix("input."): archive[name] for name in archive.files}
    print(_growth_bytes(Path(order["model"]), inputs, SessionSpec.model_validate(order["session"])))


if __name__ == "__main__":
    _main(sys.argv[1])
