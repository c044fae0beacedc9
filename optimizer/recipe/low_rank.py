"""Low rank: a layer's weight matrix becomes the product of two thin ones."""

from typing import ClassVar, Literal

from pydantic import Field

from optimizer.recipe.base import Dependency, Domain, PassConfig, Stage


class LowRank(PassConfig):
    """Truncated singular value decomposition of linear layers and 1x1 convolutions (Denton et al., NeurIPS 2014).

    A layer is factorised only where two thin matrices hold fewer weights than the one. Best followed by `finetune` or
    `distill`.
    """

    accepts: ClassVar = Stage.TORCH
    produces: ClassVar = Stage.TORCH
    depends_on: ClassVar = frozenset({Dependency.CALIBRATION})
    # Factors of a sparse matrix, or of one with few values, are neither.
    not_after: ClassVar = frozenset({"prune_magnitude", "prune_n_m", "share_weights"})
    tools: ClassVar = ("torch", "transformers")
    domain: ClassVar[Domain] = {"energy": (0.95, 0.9, 0.8, 0.6), "whiten": (True, False)}

    use: Literal["low_rank"] = "low_rank"
    # Share of a matrix's squared singular values that the rank must keep.
    energy: float = Field(default=0.9, gt=0, lt=1)
    # Weights that all factorised layers together may have, as a share of today's; the energy follows from it.
    budget: float | None = Field(default=None, gt=0, lt=1)
    # Weighs directions by how much the calibration rows' activations use them (SVD-LLM, Wang et al., ICLR 2025).
    whiten: bool = True
    # Ranks become multiples of this, which vector kernels like.
    round_to: int = Field(default=8, ge=1)
