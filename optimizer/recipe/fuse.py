"""Fusion: attention, layer normalisation and GELU subgraphs become onnxruntime's own operators."""

from typing import ClassVar, Literal

from optimizer.recipe.base import Dependency, PassConfig, Stage


class Fuse(PassConfig):
    """onnxscript's rewriter for onnxruntime; the counts of fused blocks are noted, parity is proved."""

    accepts: ClassVar = Stage.ONNX
    produces: ClassVar = Stage.ONNX
    version: ClassVar = 2
    depends_on: ClassVar = frozenset({Dependency.TARGET, Dependency.CALIBRATION})
    not_after: ClassVar = frozenset(
        {"fp16", "bf16", "quantize_aware", "quantize_dynamic", "quantize_static", "quantize_weights"}
    )
    tools: ClassVar = ("onnx", "onnxscript", "onnxruntime")

    use: Literal["fuse"] = "fuse"
    # Sums joined with the normalisation or GELU behind them. "auto": on a CPU whichever is faster there by measurement,
    # on a GPU joined.
    sums: Literal["auto", "joined", "apart"] = "auto"
