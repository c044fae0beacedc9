"""What inspection learns of a checkpoint without executing anything."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Format = Literal["huggingface", "onnx", "pt2", "state_dict"]
Kind = Literal["image", "text", "audio", "tensor"]
# What a model answers with: scores of classes, of labels that are independent, targets, scores of each token, a vector,
# scores of each next token; "open" where nothing says.
Head = Literal["classes", "labels", "targets", "tokens", "embedding", "next_token", "open"]


class InputFacts(BaseModel):
    """What is known of one input ahead of any export."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # Name of the Open Inference Protocol ("FP32", "INT64").
    datatype: str
    # Fixed sizes and names; None when not even the number of axes is known. The axis "batch" stands for the rows.
    shape: tuple[int | str, ...] | None
    # Whether data must hold it; an optional one may be left out.
    required: bool = True
    # Smallest and largest value that makes sense, for integers that are looked up in a table.
    minimum: int | None = None
    maximum: int | None = None

    @property
    def batched(self) -> bool:
        """Whether the first axis is the batch."""
        return self.shape is not None and self.shape[:1] == ("batch",)


class Inspection(BaseModel):
    """A checkpoint that may be accepted: its form, its inputs and its classes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Format
    kind: Kind
    head: Head = "classes"
    # Number of classes, labels or targets; None when there are none, or an ONNX graph does not say.
    classes: int | None = None
    # In the order of the model's scores; empty when the checkpoint does not name them.
    class_names: tuple[str, ...] = ()
    inputs: dict[str, InputFacts] = Field(min_length=1)
    # Largest size of a named axis ("sequence": 512).
    limits: dict[str, int] = Field(default_factory=dict)
    # Hugging Face only.
    architecture: str | None = None
    model_type: str | None = None
    # Whether the configuration speaks of attention heads.
    attention: bool = False
    channels: int | None = None
    # Height and width, when the model takes no others.
    image_size: tuple[int, int] | None = None
    vocab_size: int | None = None
    max_positions: int | None = None
    # ONNX and .pt2: how often each operator occurs, subgraphs and functions included. State dicts: what their weights'
    # shapes suggest.
    operators: dict[str, int] = Field(default_factory=dict)
    # ONNX and .pt2: names and shapes of the outputs.
    outputs: dict[str, InputFacts] = Field(default_factory=dict)
    weights_bytes: int = 0
