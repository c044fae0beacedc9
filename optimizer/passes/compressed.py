"""How many bytes a network's weights take once they are compressed, as archives and downloads do."""

import zlib

from torch import nn

# The fastest: what matters is how much less it becomes, and both sides are compressed alike.
_LEVEL = 1


def weights_bytes(network: nn.Module) -> int:
    """Size of all weights, each once, as zlib packs them."""
    return sum(
        len(zlib.compress(weight.detach().cpu().contiguous().numpy().tobytes(), _LEVEL))
        for weight in network.parameters()
    )


def file_note(before: int, after: int) -> str:
    """What shrinks and what does not, for a reader."""
    return (
        f"compressed (zlib), the weights take {after / 1e6:.3g} MB instead of {before / 1e6:.3g} MB; the ONNX file "
        "itself is as large as before, and onnxruntime computes no faster"
    )
