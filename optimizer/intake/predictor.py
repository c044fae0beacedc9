"""A network as a plain function of positional tensors to one tensor, which is what exporters and loops want."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from optimizer.artifact.rows import Rows
from optimizer.artifact.signature import TensorSpec, numpy_dtype
from optimizer.intake.stages import EMBEDDING, LOGITS, Calling, TorchModel

_MASK = "attention_mask"


class Predictor(nn.Module):
    """Takes the inputs as positional tensors, batch first, and returns one tensor, batch first.

    Class scores [batch, classes], scores a token [batch, sequence, classes or vocabulary], targets [batch, targets], or
    an embedding [batch, width].
    """

    def __init__(
        self, network: nn.Module, names: Sequence[str], output: str = LOGITS, calling: Calling = "keywords"
    ) -> None:
        super().__init__()
        self.network = network
        self._names = tuple(names)
        self._output = output
        self._calling = calling

    def forward(self, *tensors: Tensor) -> Tensor:
        """The answers to one batch."""
        if self._calling == "positional":
            answer: Any = self.network(*tensors)
            first: Tensor = answer if isinstance(answer, Tensor) else answer[0]
            return first
        named = dict(zip(self._names, tensors, strict=True))
        answer = self.network(**named)
        if self._output == EMBEDDING:
            return pooled(answer.last_hidden_state, named.get(_MASK))
        logits: Tensor = answer.logits
        return logits


def pooled(hidden: Tensor, mask: Tensor | None) -> Tensor:
    """Mean of hidden states [batch, sequence, width] over the tokens that count (Reimers and Gurevych, 2019)."""
    if mask is None:
        return hidden.mean(dim=1)
    counts = mask.to(hidden.dtype).unsqueeze(-1)
    return (hidden * counts).sum(dim=1) / counts.sum(dim=1).clamp(min=1e-9)


def predictor_of(model: TorchModel) -> Predictor:
    """The model as a module of positional inputs; shares its weights and its mode (training or evaluation)."""
    predictor = Predictor(model.network, [spec.name for spec in model.inputs], model.output, model.calling)
    predictor.training = model.network.training
    return predictor


def tensors_of(rows: Rows, inputs: Sequence[TensorSpec]) -> tuple[Tensor, ...]:
    """All rows as one tensor an input, in the inputs' data types."""
    # Copied, since torch wants memory that it may write to.
    return tuple(
        torch.from_numpy(rows.arrays[spec.name].astype(numpy_dtype(spec.datatype), copy=True)) for spec in inputs
    )


def answers_of(predictor: Predictor, tensors: Sequence[Tensor], batch: int = 64) -> Tensor:
    """The answers to all rows, in evaluation mode and without gradients; the module's mode is restored."""
    was_training = predictor.training
    predictor.eval()
    try:
        with torch.inference_mode():
            parts = [
                predictor(*(tensor[start : start + batch] for tensor in tensors))
                for start in range(0, len(tensors[0]), batch)
            ]
            joined = torch.cat(parts)
    finally:
        predictor.train(was_training)
    # A tensor born in inference mode may not take part in a gradient; a copy may.
    return joined.clone()
