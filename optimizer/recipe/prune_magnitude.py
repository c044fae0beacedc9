"""Unstructured pruning: single weights become zero."""

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from optimizer.recipe.base import Dependency, Domain, PassConfig, Stage
from optimizer.recipe.training import Training


class PruneMagnitude(PassConfig):
    """Sets the smallest weights to zero (Han et al., NeurIPS 2015), at once or while training goes on.

    With `training` the sparsity rises by the cubic schedule of Zhu and Gupta (2017), and the network learns meanwhile;
    what is zero stays zero, here and in every later step that trains. onnxruntime computes with zeros like with any
    other number: what shrinks is the compressed file.
    """

    accepts: ClassVar = Stage.TORCH
    produces: ClassVar = Stage.TORCH
    depends_on: ClassVar = frozenset({Dependency.TRAIN, Dependency.SELECTION, Dependency.SEED, Dependency.SOURCE})
    tools: ClassVar = ("torch", "transformers")
    domain: ClassVar[Domain] = {"sparsity": (0.5, 0.7, 0.8, 0.9), "scope": ("global", "layer")}

    use: Literal["prune_magnitude"] = "prune_magnitude"
    # Share of weights that become zero: of all layers taken together, or of every layer.
    sparsity: float = Field(default=0.5, gt=0, lt=1)
    scope: Literal["global", "layer"] = "global"
    # Keeps abs(w) > threshold, whatever share that is; `sparsity` and `scope` do not count then.
    threshold: float | None = Field(default=None, gt=0)
    # None: at once, and no training.
    training: Training | None = None
    # Share of the training's epochs in which the sparsity rises.
    ramp: float = Field(default=0.5, ge=0, lt=1)


class PruneNM(PassConfig):
    """Of every m neighbouring inputs of a weight's row, n stay (Mishra et al., 2021: 2 of 4).

    Only sparse tensor cores (NVIDIA Ampere and later, through TensorRT) are faster for it; onnxruntime on a CPU is not.
    """

    accepts: ClassVar = Stage.TORCH
    produces: ClassVar = Stage.TORCH
    depends_on: ClassVar = frozenset({Dependency.TRAIN, Dependency.SELECTION, Dependency.SEED, Dependency.SOURCE})
    tools: ClassVar = ("torch", "transformers")
    domain: ClassVar[Domain] = {"n": (2,), "m": (4,)}

    use: Literal["prune_n_m"] = "prune_n_m"
    n: int = Field(default=2, ge=1)
    m: int = Field(default=4, ge=2)
    # None: no training.
    training: Training | None = None

    @model_validator(mode="after")
    def _some_go(self) -> Self:
        if self.n >= self.m:
            raise ValueError(f"n must be smaller than m, but {self.n} of {self.m} are all")
        return self
