"""Partial quantisation: what costs too much accuracy or makes the graph slower in integers is kept in float.

The error of every node alone gives a ranking, and the fewest worst nodes are kept in float with which the metric's loss
on the selection rows stays inside the budget. Then kinds of nodes are tried in float for speed, most weights first.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from optimizer.artifact.manifest import Table
from optimizer.artifact.task import LOWER_IS_BETTER
from optimizer.errors import NotApplicable
from optimizer.intake.stages import OnnxModel
from optimizer.metrics.intervals import Interval
from optimizer.metrics.scoring import scoring
from optimizer.passes import parity, selection
from optimizer.passes.context import Context
from optimizer.passes.quantisable import Quantisable
from optimizer.passes.speed import times_faster
from optimizer.recipe.partial import Partial as PartialConfig

# Rows on which a node's error alone is measured.
_ROWS = 64
# Kinds of nodes that are tried in float for speed.
_MOST_KINDS = 6
# How much faster the graph must be with a kind in float: more, the larger its share of the weights, which then do not
# shrink.
_WORTH, _WORTH_A_SHARE = 1.02, 0.5

# Makes the graph with only these nodes in integers.
Build = Callable[[Collection[str]], onnx.ModelProto]


@dataclass(frozen=True)
class Settled:
    """What partial quantisation came to."""

    proto: onnx.ModelProto
    # Nodes in integers.
    integer: frozenset[str]
    score: float
    source_score: float
    # How many times faster than the graph in float, in a short measurement.
    speed: Interval


@dataclass
class Partial:
    """One search: the nodes, how a graph of some of them is made, and what it is judged by."""

    config: PartialConfig
    model: OnnxModel
    context: Context
    nodes: Sequence[Quantisable]
    build: Build
    # Errors of nodes alone, as far as they were measured.
    errors: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._source_answers = selection.answers_on(
            self.model.path, self.model.signature, self.context.splits.selection, self.context.session
        )
        self.source_score = selection.score(self.model, self.context, self._source_answers)

    @property
    def allowed(self) -> float:
        """The least score that the budget allows."""
        rows = len(self.context.splits.selection)
        relative = scoring(self.context.task).metric in LOWER_IS_BETTER
        unit = abs(self.source_score) if relative else 1.0
        return self.source_score - unit * max(self.config.accuracy_budget, 1 / rows) - 1e-9

    def score(self, proto: onnx.ModelProto) -> float:
        """How good a graph is on the selection rows."""
        return selection.score(self._written(proto), self.context, self._source_answers)

    def settle(self) -> Settled:
        """Searches. Raises NotApplicable when no node at all can be in integers within the budget."""
        integer = frozenset(node.name for node in self.nodes) - set(self.config.float_nodes)
        proto = self.build(integer)
        score = self.score(proto)
        if self.config.sensitivity == "always" or (self.config.partial and score < self.allowed):
            self._measure(sorted(integer))
        if self.config.partial and score < self.allowed:
            integer, proto, score = self._within_budget(integer)
        if self.config.skip_slow:
            integer, proto, score = self._without_slow(integer, proto, score)
        speed = times_faster(proto.SerializeToString(), self.model.path, self.model.signature, self.context)
        self._report(integer)
        return Settled(proto, integer, score, self.source_score, speed)

    def _measure(self, names: Sequence[str]) -> None:
        """The error that each node alone makes: its relative distance from the answers in float on calibration rows."""
        rows = self.context.splits.calibration
        rows = rows.take(np.arange(min(_ROWS, len(rows))))

        def answers(model: OnnxModel) -> NDArray[Any]:
            return selection.answers_on(model.path, model.signature, rows, self.context.session)

        wanted = answers(self.model)
        for done, name in enumerate(names, 1):
            self.errors[name] = parity.relative_error([wanted], [answers(self._written(self.build([name])))])
            self.context.report(done / len(names), message="measuring what each node costs")

    def _within_budget(self, integer: frozenset[str]) -> tuple[frozenset[str], onnx.ModelProto, float]:
        """The fewest worst nodes in float with which the budget holds, found by bisection over the ranking."""
        ranking = sorted(integer, key=lambda name: (-self.errors[name], name))
        too_few, enough = 0, len(ranking)
        found: tuple[onnx.ModelProto, float] | None = None
        while enough - too_few > 1:
            middle = (too_few + enough) // 2
            proto = self.build(ranking[middle:])
            score = self.score(proto)
            if score >= self.allowed:
                enough, found = middle, (proto, score)
            else:
                too_few = middle
        if found is None:
            raise NotApplicable(
                f"no node of this graph can be in integers within a loss of {self.config.accuracy_budget:g} on "
                f"{len(self.context.splits.selection)} selection rows"
            )
        return frozenset(ranking[enough:]), *found

    def _without_slow(
        self, integer: frozenset[str], proto: onnx.ModelProto, score: float
    ) -> tuple[frozenset[str], onnx.ModelProto, float]:
        """Keeps those kinds of nodes in float that this host computes faster so, though the budget would allow them."""
        total = max(sum(node.size for node in self.nodes), 1)
        sizes = {node.name: node.size for node in self.nodes}
        kinds: dict[str, set[str]] = {}
        for node in sorted(self.nodes, key=lambda node: -node.size):
            if node.size and node.name in integer:
                kinds.setdefault(node.kind, set()).add(node.name)
        for kind, names in list(kinds.items())[:_MOST_KINDS]:
            rest = integer - names
            if not rest:
                continue
            other = self.build(rest)
            graphs = (other.SerializeToString(), proto.SerializeToString())
            ratio = times_faster(*graphs, self.model.signature, self.context)
            worth = _WORTH + _WORTH_A_SHARE * sum(sizes[name] for name in names) / total
            if ratio.low <= worth or (other_score := self.score(other)) < min(score, self.allowed):
                continue
            integer, proto, score = rest, other, other_score
            self.context.notes.append(
                f"{len(names)} nodes ({kind}) stay in float: the graph is {ratio.value:.2f} times faster so"
            )
        return integer, proto, score

    def _written(self, proto: onnx.ModelProto) -> OnnxModel:
        path = self.context.directory / "candidate.onnx"
        path.write_bytes(proto.SerializeToString())
        return OnnxModel(path, self.model.signature)

    def clear(self) -> None:
        """Removes the file that the last score was of."""
        (self.context.directory / "candidate.onnx").unlink(missing_ok=True)

    def _report(self, integer: frozenset[str]) -> None:
        self.clear()
        if self.errors:
            by_name = {node.name: node for node in self.nodes}
            ranking = sorted(self.errors, key=lambda name: -self.errors[name])
            rows = tuple((name, by_name[name].operator, self.errors[name], name not in integer) for name in ranking)
            title = "Error of the answers with one node alone in integers"
            columns = ("node", "operator", "error", "in float")
            self.context.tables.append(Table(kind="sensitivity", title=title, columns=columns, rows=rows))


def told(settled: Settled, nodes: Sequence[Quantisable], config: PartialConfig) -> list[str]:
    """Sentences for the manifest: what stayed in float, what it cost, and whether it is any faster."""
    kept = [node for node in nodes if node.name not in settled.integer and node.size]
    loss = settled.source_score - settled.score
    notes = []
    if kept:
        shown = ", ".join(node.name for node in kept[:5]) + (", ..." if len(kept) > 5 else "")
        notes.append(f"{len(kept)} of {sum(node.size > 0 for node in nodes)} weighted nodes in float: {shown}")
    notes.append(
        f"on the selection rows the score goes from {settled.source_score:.4f} to {settled.score:.4f}"
        + (f", more than the budget of {config.accuracy_budget:g}" if loss > config.accuracy_budget + 1e-9 else "")
    )
    speed = settled.speed
    if speed.low <= 1:
        notes.append(
            f"not faster than in float in a short measurement here ({speed.value:.2f} times): what is gained in "
            "products is lost in turning values into integers and back"
        )
    return notes
