"""Weight-only quantisation: weights in 8 or 4 bits, all that is computed with them in float."""

from typing import ClassVar, Literal

from optimizer.recipe.base import Domain
from optimizer.recipe.partial import Partial


class QuantizeWeights(Partial):
    """For small files: weights of products and tables in blocks with a scale each; activations are not calibrated.

    Answers stay nearer to the source's than with `quantize_static`, and a CPU is seldom faster with it. What is slower
    is kept all the same unless `skip_slow` says otherwise.
    """

    tools: ClassVar = ("onnx", "onnxruntime")
    domain: ClassVar[Domain] = {"bits": ("auto", 8, 4), "block_size": (64, 32, 128)}

    use: Literal["quantize_weights"] = "quantize_weights"
    # "auto": 8, and 4 for those kinds of nodes with which the accuracy budget still holds and the graph is no slower.
    bits: Literal["auto", 8, 4] = "auto"
    # Weights that share a scale; fewer are more exact and larger.
    block_size: Literal[16, 32, 64, 128] = 64
    skip_slow: bool = False
