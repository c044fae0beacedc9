"""The forms that a model has on its way: a checkpoint on disk, a torch module, an ONNX file.

    Checkpoint ──▶ TorchModel ──▶ OnnxModel
         └──────────────────────────▲

A pass takes one of these and returns one, so a pass that is given the wrong stage does not type-check. This file does
not import torch: recipes that only treat ONNX files never load it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from optimizer.artifact.inspected import Inspection
from optimizer.artifact.signature import Signature, TensorSpec
from optimizer.intake.edits import Edit

if TYPE_CHECKING:
    import torch

# The one output of every network that is exported here: scores (class scores, one a token, next tokens), the targets of
# a regression, or the vector of an embedding.
LOGITS = "logits"
EMBEDDING = "embedding"

# How a network is called. Those of the transformers library take keyword arguments named like the inputs, and answer
# with an object; all others take positional tensors in the inputs' order, and the first tensor that they answer counts.
Calling = Literal["keywords", "positional"]


@dataclass(frozen=True)
class Checkpoint:
    """A stranger's files, inspected and not yet opened."""

    # Path inside the checkpoint to the local file.
    files: Mapping[str, Path]
    inspection: Inspection


@dataclass(frozen=True)
class TorchModel:
    """A network in 32-bit floats, on the CPU. `optimizer.intake.predictor` makes a plain function of it.

    Passes may change the network they are given; who needs it unchanged loads it again.
    """

    network: "torch.nn.Module"
    # config.json's content, as it was checked at intake; empty where the checkpoint has none.
    config: Mapping[str, Any]
    # In the order in which data sets hold them.
    inputs: tuple[TensorSpec, ...]
    # Largest size of a named axis other than the batch ("sequence": 512).
    limits: Mapping[str, int]
    # LOGITS or EMBEDDING.
    output: str = LOGITS
    calling: Calling = "keywords"
    # What passes did to the structure of the checkpoint's network, in order (`optimizer.intake.editing`).
    edits: tuple[Edit, ...] = ()

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return sum(parameter.numel() for parameter in self.network.parameters())


@dataclass(frozen=True)
class OnnxModel:
    """One self-contained ONNX file that onnxruntime loads, and what it answers to."""

    path: Path
    signature: Signature
