"""A student: a smaller network than the checkpoint's, which starts from those of its weights that fit."""

from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from optimizer.recipe.base import Dependency, Domain, PassConfig, Stage


class Student(PassConfig):
    """Keeps some of the layers (DistilBERT, Sanh et al., 2019), or builds the network of another config.

    Best followed by `distill`. Of an ONNX checkpoint `config` is the whole config.json of a transformers architecture
    (`model_type` and sizes); the graph is the teacher.
    """

    accepts: ClassVar = Stage.TORCH
    produces: ClassVar = Stage.TORCH
    begins_with: ClassVar = frozenset({Stage.ONNX})
    depends_on: ClassVar = frozenset({Dependency.CALIBRATION, Dependency.SEED})
    tools: ClassVar = ("torch", "transformers")
    domain: ClassVar[Domain] = {"layers": ("half", 1, 2, 3, 4, 6)}

    use: Literal["student"] = "student"
    # How many layers of the stack stay, spread evenly.
    layers: int | Literal["half"] | None = None
    # What differs from the checkpoint's config.json ("hidden_size": 128).
    config: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _says_what_is_smaller(self) -> Self:
        if self.layers is None and not self.config:
            raise ValueError("a student needs `layers` (a number or `half`) or a `config` that differs")
        if isinstance(self.layers, int) and self.layers < 1:
            raise ValueError("a student keeps at least one layer")
        return self
