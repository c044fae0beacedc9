"""An inspector that opens nothing: finds what it is told to find."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from service.errors import InvalidArgument
from service.uploads.inspection import Findings

_LINEAR = {
    "format": "onnx",
    "kind": "tensor",
    "classes": 3,
    "inputs": {"x": {"datatype": "FP32", "shape": ["batch", 4], "required": True}},
}


class FakeInspector:
    """An Inspector. Accepts everything as a classifier of four numbers, unless `problem` says why not."""

    def __init__(self) -> None:
        self.problem = ""
        self.findings: dict[str, Any] = dict(_LINEAR)
        # What was asked: names of the checkpoint's files, the data's splits, the task.
        self.asked: list[tuple[list[str], list[str], str]] = []

    def inspect(
        self, files: Mapping[str, Path], dataset: Mapping[str, tuple[str, Path]], task: str, timeout_seconds: float
    ) -> Findings:
        """See Inspector."""
        self.asked.append((sorted(files), sorted(dataset), task))
        if self.problem:
            raise InvalidArgument(self.problem)
        rows = {split: path.stat().st_size for split, (_, path) in dataset.items()}
        return Findings(dict(self.findings), (task or "classification") if dataset else "", rows)
