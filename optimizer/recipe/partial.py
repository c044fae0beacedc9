"""What the configs of all passes share that put nodes of a graph into integers."""

from typing import ClassVar, Literal

from pydantic import Field

from optimizer.recipe.base import Dependency, PassConfig, Stage


class Partial(PassConfig):
    """How much accuracy and time the integers may cost before a node is kept in float."""

    accepts: ClassVar = Stage.ONNX
    produces: ClassVar = Stage.ONNX
    version: ClassVar = 3
    depends_on: ClassVar = frozenset({Dependency.TARGET, Dependency.CALIBRATION, Dependency.SELECTION})
    not_after: ClassVar = frozenset(
        {"fp16", "bf16", "quantize_aware", "quantize_dynamic", "quantize_static", "quantize_weights"}
    )

    # Keep the nodes in float that cost most accuracy, until the budget holds. False: quantise all, whatever it costs.
    partial: bool = True
    # What the metric may lose on the selection rows (a share of the source's value where less is better). One row is
    # always forgiven: fewer rows than 1 / budget cannot tell.
    accuracy_budget: float = Field(default=0.005, ge=0, le=1)
    # The error of every node alone is measured when the budget does not hold at once, or always.
    sensitivity: Literal["needed", "always"] = "needed"
    # Keep nodes in float whose kind makes the graph slower in integers, measured on this host.
    skip_slow: bool = True
    # Tables that rows are looked up in (words, users, films) become integers too.
    embeddings: bool = True
    # Names of nodes that stay in float in any case.
    float_nodes: tuple[str, ...] = ()
