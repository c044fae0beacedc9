"""A transformers network as a plain function of positional tensors, which is what exporters and loops want."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from optimizer.artifact.rows import Rows
from optimizer.artifact.signature import TensorSpec, numpy_dtype
from optimizer.intake.stages import TorchModel


class Classifier(nn.Module):
    """Takes the inputs as positional tensors, batch first, and returns the logits [batch, classes]."""

    def __init__(self, network: nn.Module, names: Sequence[str]) -> None:
        super().__init__()
        self.network = network
        self._names = tuple(names)

    def forward(self, *tensors: Tensor) -> Tensor:
        """The logits of one batch."""
        answer: Any = self.network(**dict(zip(self._names, tensors, strict=True)))
        logits: Tensor = answer.logits
        return logits


def classifier_of(model: TorchModel) -> Classifier:
    """The model as a module of positional inputs; shares its weights and its mode (training or evaluation)."""
    classifier = Classifier(model.network, [spec.name for spec in model.inputs])
    classifier.training = model.network.training
    return classifier


def tensors_of(rows: Rows, inputs: Sequence[TensorSpec]) -> tuple[Tensor, ...]:
    """All rows as one tensor an input, in the inputs' data types."""
    # Copied, since torch wants memory that it may write to.
    return tuple(
        torch.from_numpy(rows.arrays[spec.name].astype(numpy_dtype(spec.datatype), copy=True)) for spec in inputs
    )


def logits_of(classifier: Classifier, tensors: Sequence[Tensor], batch: int = 64) -> Tensor:
    """The logits of all rows, in evaluation mode and without gradients; the module's mode is restored."""
    was_training = classifier.training
    classifier.eval()
    try:
        with torch.inference_mode():
            parts = [
                classifier(*(tensor[start : start + batch] for tensor in tensors))
                for start in range(0, len(tensors[0]), batch)
            ]
            joined = torch.cat(parts)
    finally:
        classifier.train(was_training)
    # A tensor born in inference mode may not take part in a gradient; a copy may.
    return joined.clone()
