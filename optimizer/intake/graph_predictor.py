"""An ONNX graph as a predictor: what teaches a torch student when the checkpoint is ONNX."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from optimizer.artifact.graph_signature import class_output
from optimizer.artifact.session import SessionSpec, build, ort_errors
from optimizer.artifact.task import Task
from optimizer.errors import PassFailed
from optimizer.intake.onnx_file import first_line
from optimizer.intake.predictor import Predictor
from optimizer.intake.stages import OnnxModel
from optimizer.metrics.answers import as_scores


class GraphPredictor(Predictor):
    """Answers as the graph does, without gradients. Tensors may lie on any device; answers come back to it."""

    def __init__(self, model: OnnxModel, names: Sequence[str], session: SessionSpec, task: Task | None = None) -> None:
        """`names` are the inputs in the order of the tensors. Probabilities are turned back into scores for `task`."""
        super().__init__(nn.Identity(), names, calling="positional")
        self._path, self._spec = model.path, session
        self._session = build(model.path, session)
        self._task, self._activation = task, model.signature.activation
        self._output = class_output(model.signature).name
        # A graph without a batch axis takes one row at a time.
        self._batched = model.signature.batched

    def __getstate__(self) -> dict[str, Any]:
        """Without the session, which another process opens for itself."""
        return {name: value for name, value in self.__dict__.items() if name != "_session"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Opens the session again."""
        super().__setstate__(state)  # type: ignore[no-untyped-call]
        self._session = build(self._path, self._spec)

    def forward(self, *tensors: Tensor) -> Tensor:
        """The graph's scores for one batch. Raises PassFailed for inputs that it does not take."""
        arrays = [tensor.detach().cpu().numpy() for tensor in tensors]
        groups = [arrays] if self._batched else [[array[[row]] for array in arrays] for row in range(len(arrays[0]))]
        try:
            answers = [
                self._session.run([self._output], dict(zip(self._names, group, strict=True)))[0] for group in groups
            ]
        except ort_errors() as error:
            raise PassFailed(f"the teacher does not run on these rows: {first_line(error)}") from error
        joined = np.concatenate(answers)
        if self._task is not None:
            joined = as_scores(joined, self._task, self._activation).astype(joined.dtype, copy=False)
        return torch.from_numpy(joined).to(tensors[0].device)
