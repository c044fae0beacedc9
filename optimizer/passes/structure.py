"""One structure of a network: units that can be hidden to see what they are worth, and cut out of the weights."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch_pruning
from torch import Tensor, nn

Kind = Literal["channels", "heads", "feed-forward columns"]
# "magnitude" or "taylor" (of gradients that the weights hold).
Judge = Literal["magnitude", "taylor"]

# Attributes by which attention modules of the transformers library know their shape.
_HEADS = ("num_attention_heads", "num_heads", "n_heads")
_ALL_HEADS_SIZE = ("all_head_size",)


class Structure(ABC):
    """Units of one layer that are cut alike."""

    # Path of the layer that writes them.
    name: str
    kind: Kind

    @property
    @abstractmethod
    def units(self) -> int:
        """How many there are."""

    @property
    @abstractmethod
    def weights(self) -> float:
        """Weights that go with one unit, at the present widths of the layers around it."""

    @property
    def together(self) -> int:
        """Columns that go with one unit."""
        return 1

    @abstractmethod
    def scores(self, judge: Judge) -> Tensor:
        """Importance of each unit."""

    @abstractmethod
    def readers(self, units: Sequence[int]) -> Mapping[nn.Module, list[int]]:
        """The layers that read these units, and at which of their inputs."""

    @abstractmethod
    def cut(self, units: Sequence[int]) -> None:
        """Removes these units from the weights, in place."""

    def kept(self, ratio: float, round_to: int) -> int:
        """Units that stay: at least one head, and columns in multiples of `round_to`."""
        target = self.units * (1 - ratio)
        if self.kind == "heads":
            return max(1, round(target))
        step = max(1, round_to // self.together)
        return min(self.units, max(step, step * round(target / step)))

    @contextmanager
    def hidden(self, units: Sequence[int]) -> Iterator[None]:
        """While it lasts, whoever reads these units reads zeros, which is what they read once the units are gone."""

        def hide(columns: list[int], module: nn.Module) -> object:
            def hook(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
                given = inputs[0].clone()
                axis = 1 if isinstance(module, nn.Conv1d | nn.Conv2d) else -1
                given.index_fill_(axis, given.new_tensor(columns).long(), 0.0)
                return (given, *inputs[1:])

            return module.register_forward_pre_hook(hook)

        handles = [hide(columns, module) for module, columns in self.readers(units).items()]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()  # type: ignore[attr-defined]


@dataclass(eq=False)
class GraphStructure(Structure):
    """A structure in a dependency graph: output channels or columns of a layer, and all that hangs on them.

    Cut `unit` neighbouring columns at a time, at the same place in each of `groups` equal parts (group convolutions).
    """

    graph: torch_pruning.DependencyGraph
    name: str
    layer: nn.Module
    kind: Kind
    # Modules of the network; the graph has nodes of its own for reshapes and sums.
    modules: frozenset[nn.Module]
    unit: int = 1
    groups: int = 1
    attention: nn.Module | None = None

    @property
    def units(self) -> int:
        """See `Structure`."""
        return self._columns // self.unit // self.groups

    @property
    def together(self) -> int:
        """See `Structure`."""
        return self.unit * self.groups

    @property
    def weights(self) -> float:
        """See `Structure`."""
        total = 0.0
        for dependency, columns in self._group(range(self._columns)):
            module = dependency.target.module
            if module not in self.modules:
                continue
            if self.graph.is_out_channel_pruning_fn(dependency.handler):
                total += sum(weight.numel() for weight in module.parameters(recurse=False))
            else:
                inputs = self.graph.get_in_channels(module) or len(columns)
                total += module.weight.numel() * len(columns) / inputs
        return total / max(1, self.units)

    def scores(self, judge: Judge) -> Tensor:
        """See `Structure`."""
        tool = (
            torch_pruning.importance.GroupTaylorImportance()
            if judge == "taylor"
            else torch_pruning.importance.GroupMagnitudeImportance(p=2)
        )
        scores: Tensor = tool(self._group(range(self._columns)))
        return scores.reshape(self.groups, -1, self.unit).sum(dim=(0, 2))

    def readers(self, units: Sequence[int]) -> Mapping[nn.Module, list[int]]:
        """See `Structure`."""
        found: dict[nn.Module, list[int]] = {}
        for dependency, columns in self._group(self._expanded(units)):
            module = dependency.target.module
            weighty = isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d)
            if module in self.modules and weighty and not self.graph.is_out_channel_pruning_fn(dependency.handler):
                found.setdefault(module, []).extend(columns)
        return found

    def cut(self, units: Sequence[int]) -> None:
        """See `Structure`."""
        self._group(self._expanded(units)).prune()
        if self.attention is not None:
            resize_attention(self.attention, self._columns, self.unit)

    @property
    def _columns(self) -> int:
        return int(self.graph.get_out_channels(self.layer))

    def _expanded(self, units: Sequence[int]) -> list[int]:
        size = self.units * self.unit
        return sorted(
            part * size + unit * self.unit + offset
            for part in range(self.groups)
            for unit in units
            for offset in range(self.unit)
        )

    def _group(self, columns: Sequence[int]) -> torch_pruning.dependency.Group:
        pruner = self.graph.get_pruner_of_module(self.layer)
        return self.graph.get_pruning_group(self.layer, pruner.prune_out_channels, idxs=list(columns))


def resize_attention(attention: nn.Module, width: int, head_size: int) -> None:
    """Tells an attention module how many heads it has now."""
    for key in _HEADS:
        if isinstance(getattr(attention, key, None), int):
            setattr(attention, key, width // head_size)
    for key in _ALL_HEADS_SIZE:
        if isinstance(getattr(attention, key, None), int):
            setattr(attention, key, width)
