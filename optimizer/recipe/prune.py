"""Structured pruning: whole channels, attention heads and feed-forward columns are cut out of the weights."""

from typing import ClassVar, Literal

from pydantic import Field

from optimizer.recipe.base import Dependency, Domain, PassConfig, Stage


class PruneStructured(PassConfig):
    """Removes the least important groups of coupled structures (DepGraph, Fang et al., CVPR 2023).

    The ratio counts structures, not parameters: 0.5 halves the width of every layer, and so about quarters its
    multiplications. The classifier's outputs are never cut.
    """

    accepts: ClassVar = Stage.TORCH
    produces: ClassVar = Stage.TORCH
    depends_on: ClassVar = frozenset({Dependency.CALIBRATION})
    # Cutting columns would shift the pattern.
    not_after: ClassVar = frozenset({"prune_n_m"})
    tools: ClassVar = ("torch", "torch-pruning", "transformers")
    domain: ClassVar[Domain] = {"ratio": (0.25, 0.5, 0.65, 0.75), "importance": ("magnitude", "taylor")}

    use: Literal["prune_structured"] = "prune_structured"
    ratio: float = Field(default=0.5, gt=0, lt=1)
    importance: Literal["magnitude", "taylor"] = "magnitude"
    # Widths become multiples of this, which vector kernels like.
    round_to: int = Field(default=8, ge=1)
    # What is cut in a transformer; convolutional networks have channels only.
    heads: bool = True
    ffn: bool = True
