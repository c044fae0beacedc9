"""Depth: whole layers of a stack are removed, or share one set of weights."""

from typing import ClassVar, Literal

from pydantic import Field

from optimizer.recipe.base import Dependency, Domain, PassConfig, Stage


class PruneLayers(PassConfig):
    """Removes whole encoder or decoder layers or residual blocks (DistilBERT, Sanh et al., 2019; Sajjad et al., 2023).

    Best followed by `finetune` or `distill`.
    """

    accepts: ClassVar = Stage.TORCH
    produces: ClassVar = Stage.TORCH
    depends_on: ClassVar = frozenset({Dependency.CALIBRATION, Dependency.SELECTION})
    tools: ClassVar = ("torch", "transformers")
    domain: ClassVar[Domain] = {"ratio": (0.25, 0.5, 0.75), "by": ("measured", "even", "greedy")}

    use: Literal["prune_layers"] = "prune_layers"
    # Share of the removable layers that goes.
    ratio: float = Field(default=0.5, gt=0, lt=1)
    # measured: those without which the answers to the selection rows change least, each measured alone; greedy:
    # measured again after each removal; even: every second one, say.
    by: Literal["measured", "greedy", "even"] = "measured"


class ShareLayers(PassConfig):
    """Neighbouring layers use one set of weights (ALBERT, Lan et al., ICLR 2020): the file shrinks, the time does not.

    Needs training afterwards: `finetune` or `distill`.
    """

    accepts: ClassVar = Stage.TORCH
    produces: ClassVar = Stage.TORCH
    depends_on: ClassVar = frozenset({Dependency.CALIBRATION})
    not_after: ClassVar = frozenset({"share_weights"})
    tools: ClassVar = ("torch", "transformers")
    domain: ClassVar[Domain] = {"together": (2, 3, 4)}

    use: Literal["share_layers"] = "share_layers"
    # How many neighbours share.
    together: int = Field(default=2, ge=2)
