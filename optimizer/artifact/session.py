"""How an onnxruntime session is built: one spec, one builder, the same for measuring and for serving."""

import os
from pathlib import Path
from typing import Literal

import onnxruntime as ort
from pydantic import BaseModel, ConfigDict, Field

Target = Literal["cpu", "cuda"]


class SessionSpec(BaseModel):
    """Everything that changes how fast, or with which kernels, a session runs.

    A measurement belongs to a session spec: a figure taken with two threads says nothing about one thread.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    target: Target = "cpu"
    intra_op_threads: int = Field(default=1, ge=1)
    # Spinning workers win microseconds on an idle host and lose throughput on a shared one.
    allow_spinning: bool = False
    device_id: int = Field(default=0, ge=0)

    @property
    def providers(self) -> list[str | tuple[str, dict[str, str]]]:
        """Execution providers in order of preference; the CPU always stands last."""
        if self.target == "cuda":
            return [("CUDAExecutionProvider", {"device_id": str(self.device_id)}), "CPUExecutionProvider"]
        return ["CPUExecutionProvider"]


def usable_cores() -> int:
    """CPU cores that this process may run on (affinity and, on Linux, the cgroup's quota)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return cores
    return cores if quota == "max" else max(1, min(cores, int(quota) // int(period)))


def present_target() -> Target:
    """ "cuda" when onnxruntime has the CUDA provider and a device answers, else "cpu"."""
    if "CUDAExecutionProvider" not in ort.get_available_providers():
        return "cpu"
    devices = Path("/proc/driver/nvidia/gpus")
    return "cuda" if devices.is_dir() and any(devices.iterdir()) else "cpu"


def host_default() -> SessionSpec:
    """The spec that serving uses on this host when nothing else is asked for."""
    target = present_target()
    return SessionSpec(target=target, intra_op_threads=usable_cores() if target == "cpu" else 1)


def build(model: Path | bytes, spec: SessionSpec) -> ort.InferenceSession:
    """Opens a model as the server does. Raises onnxruntime's exceptions for a model that it cannot load.

    Custom operator libraries are never registered. The session owns its threads; it frees its arena when dropped.
    """
    # onnxruntime reports the models that it opens to its makers unless told not to.
    ort.disable_telemetry_events()
    options = ort.SessionOptions()
    options.intra_op_num_threads = spec.intra_op_threads
    options.inter_op_num_threads = 1
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spec.allow_spinning else "0")
    # 3 = errors: a stranger's model must not fill the log with onnxruntime's advice.
    options.log_severity_level = 3
    if spec.target == "cuda":
        ort.preload_dlls()
    return ort.InferenceSession(
        model if isinstance(model, bytes) else str(model), sess_options=options, providers=spec.providers
    )


def ort_errors() -> tuple[type[Exception], ...]:
    """What onnxruntime raises for a model or an input that it refuses: a class for each of its status codes."""
    state = ort.capi.onnxruntime_pybind11_state
    return tuple(kind for kind in vars(state).values() if isinstance(kind, type) and issubclass(kind, Exception))
