"""Weight sharing: every layer's weights take one of a few values."""

from typing import ClassVar, Literal

from pydantic import Field

from optimizer.recipe.base import Dependency, Domain, PassConfig, Stage


class ShareWeights(PassConfig):
    """A codebook of 2^bits values a layer, by k-means (Deep Compression, Han et al., ICLR 2016).

    The file shrinks once it is compressed; onnxruntime computes with 32-bit floats as before, and no faster.
    """

    accepts: ClassVar = Stage.TORCH
    produces: ClassVar = Stage.TORCH
    depends_on: ClassVar = frozenset({Dependency.SEED})
    tools: ClassVar = ("torch", "scikit-learn")
    domain: ClassVar[Domain] = {"bits": (6, 5, 4, 8)}

    use: Literal["share_weights"] = "share_weights"
    bits: int = Field(default=6, ge=1, le=8)
