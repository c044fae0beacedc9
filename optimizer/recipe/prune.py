"""Structured pruning: whole channels, attention heads and feed-forward columns are cut out of the weights."""

from typing import ClassVar, Literal

from pydantic import Field

from optimizer.recipe.base import Dependency, Domain, PassConfig, Stage
from optimizer.recipe.training import Training


class PruneStructured(PassConfig):
    """Removes the least important groups of coupled structures (DepGraph, Fang et al., CVPR 2023).

    The ratio counts structures, not parameters: 0.5 halves the width of every layer, and so about quarters its
    multiplications. The classifier's outputs are never cut.
    """

    accepts: ClassVar = Stage.TORCH
    produces: ClassVar = Stage.TORCH
    version: ClassVar = 2
    depends_on: ClassVar = frozenset(
        {Dependency.TRAIN, Dependency.CALIBRATION, Dependency.SELECTION, Dependency.SEED, Dependency.SOURCE}
    )
    # Cutting columns would shift the pattern.
    not_after: ClassVar = frozenset({"prune_n_m"})
    tools: ClassVar = ("torch", "torch-pruning", "transformers")
    domain: ClassVar[Domain] = {
        "ratio": (0.25, 0.5, 0.65, 0.75),
        "importance": ("magnitude", "taylor", "measured"),
        "allocation": ("uniform", "sensitivity"),
    }

    use: Literal["prune_structured"] = "prune_structured"
    ratio: float = Field(default=0.5, gt=0, lt=1)
    # What is least important within a layer: the smallest weights; those whose loss the gradient foretells to be
    # smallest (Molchanov et al., 2019); or those without which the answers really move least (Michel et al., 2019).
    importance: Literal["magnitude", "taylor", "measured"] = "magnitude"
    # sensitivity: every layer gets a ratio of its own, by what cutting it costs on the selection rows; as many weights
    # go as would at the same `ratio` everywhere.
    allocation: Literal["uniform", "sensitivity"] = "uniform"
    # The cut is made in so many parts, each with its own look at what is important then.
    steps: int = Field(default=1, ge=1, le=50)
    # What the network learns after each part; its epochs are shared out evenly. None: no training.
    training: Training | None = None
    # Widths become multiples of this, which vector kernels like.
    round_to: int = Field(default=8, ge=1)
    # What is cut in a transformer; convolutional networks have channels only.
    heads: bool = True
    ffn: bool = True
