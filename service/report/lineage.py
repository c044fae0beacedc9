"""What a report tells of a variant beyond its figures: steps, hardware, session, read from the manifest's JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Step:
    """One pass as it was run."""

    name: str
    seconds: float
    # "sparsity 0.5, rounds 3": the config without the pass's name.
    config: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Lineage:
    """How a variant was made, and on what it was measured."""

    steps: tuple[Step, ...]
    seed: int | None
    tools: str
    # One sentence a measurement: processor, cores, device, runtime, threads.
    hosts: tuple[str, ...]


def read(manifest: Mapping[str, Any]) -> Lineage:
    """The lineage in a manifest of any schema version; what it does not say stays out."""
    lineage = manifest.get("lineage") or {}
    return Lineage(
        steps=tuple(_step(step) for step in lineage.get("steps") or ()),
        seed=lineage.get("seed"),
        tools=", ".join(f"{name} {version}" for name, version in sorted((lineage.get("tools") or {}).items())),
        hosts=tuple(dict.fromkeys(_host(item) for item in manifest.get("measurements") or ())),
    )


def hosts(lineages: Sequence[Lineage]) -> tuple[str, ...]:
    """All hosts that the figures come from, each once."""
    return tuple(dict.fromkeys(host for lineage in lineages for host in lineage.hosts))


def _step(step: Mapping[str, Any]) -> Step:
    config = {key: value for key, value in (step.get("config") or {}).items() if key != "use" and value is not None}
    return Step(
        name=str(step.get("name", "")),
        seconds=float(step.get("seconds") or 0.0),
        config=", ".join(f"{key.replace('_', ' ')} {_value(value)}" for key, value in config.items()),
        notes=tuple(str(note) for note in step.get("notes") or ()),
    )


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:g}" if isinstance(value, float) else str(value)


def _host(measurement: Mapping[str, Any]) -> str:
    hardware, session = measurement.get("hardware") or {}, measurement.get("session") or {}
    cores, threads = hardware.get("cores"), session.get("intra_op_threads")
    parts = [
        str(hardware.get("cpu") or "unknown processor"),
        "" if cores is None else f"{cores} core{'' if cores == 1 else 's'}",
        str(hardware.get("gpu") or ""),
        f"onnxruntime {hardware['onnxruntime']}" if hardware.get("onnxruntime") else "",
        f"on {session['target']}" if session.get("target") else "",
        "" if threads is None else f"{threads} thread{'' if threads == 1 else 's'} a call",
    ]
    return ", ".join(part for part in parts if part)
