"""Inner values of a student held against its teacher's: hidden states, attention, and maps of convolutions.

Hidden states: squared error after a learned projection where widths differ (FitNets, Romero et al., 2015; TinyBERT,
Jiao et al., 2020), as a share of the teacher's own size, so that one weight suits all layers and models.
Attention: KL of the probabilities (MiniLM, Wang et al., 2020), averaged over heads, so that a student may have fewer.
Maps of convolutions: where the energy lies, whatever the number of channels (Zagoruyko and Komodakis, ICLR 2017).
"""

from functools import partial
from typing import Self

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.hooks import RemovableHandle

from optimizer.train.soft_targets import mean_of

_TINY = 1e-9


def hidden_distance(student: Tensor, teacher: Tensor, counts: Tensor | None = None) -> Tensor:
    """Squared error of [batch, sequence, width] as a share of the teacher's mean square; `counts` [batch, sequence]."""
    error, size = ((student.float() - teacher.float()) ** 2).mean(-1), (teacher.float() ** 2).mean(-1)
    return mean_of(error, counts) / mean_of(size, counts).clamp(min=_TINY)


def map_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared error of maps [batch, channels, ...] of the same size as a share of the teacher's mean square."""
    error = ((student.float() - teacher.float()) ** 2).mean()
    return error / (teacher.float() ** 2).mean().clamp(min=_TINY)


def attention_distance(student: Tensor, teacher: Tensor, counts: Tensor | None = None) -> Tensor:
    """KL(teacher || student) of where each token looks, [batch, heads, sequence, sequence], averaged over heads."""
    wanted, given = teacher.float().mean(1).clamp(min=_TINY), student.float().mean(1).clamp(min=_TINY)
    return mean_of((wanted * (wanted.log() - given.log())).sum(-1), counts)


def energy_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Squared distance of the maps' energies, each brought to length 1; [batch, channels, ...] of the same size."""
    return ((_energy(student) - _energy(teacher)) ** 2).sum(-1).mean()


def _energy(maps: Tensor) -> Tensor:
    return functional.normalize((maps.float() ** 2).sum(1).flatten(1), dim=-1)


def resized(maps: Tensor, size: torch.Size) -> Tensor:
    """Maps [batch, channels, ...] averaged or repeated to another size."""
    if maps.shape[2:] == size:
        return maps
    if maps.ndim == 3:
        return functional.adaptive_avg_pool1d(maps, size[0])
    return functional.adaptive_avg_pool2d(maps, (size[0], size[1]))


class Taps:
    """What named modules answered last. Holds hooks in the network until it is closed."""

    def __init__(self, network: nn.Module, names: tuple[str, ...]) -> None:
        """Raises KeyError for a module that the network does not have."""
        modules = dict(network.named_modules())
        self._values: dict[str, object] = {}
        self._handles: list[RemovableHandle] = [
            modules[name].register_forward_hook(partial(self._keep, name)) for name in dict.fromkeys(names)
        ]

    def hidden(self, name: str) -> Tensor:
        """The module's answer, or the first of several."""
        value = self._values[name]
        first = value[0] if isinstance(value, tuple | list) else value
        assert isinstance(first, Tensor)
        return first

    def attention(self, name: str) -> Tensor | None:
        """The attention that the module answered beside its values; None where there is none."""
        return attention_in(self._values[name])

    def __contains__(self, name: str) -> bool:
        """Whether the module was called: some networks skip layers at random in training."""
        return name in self._values

    def clear(self) -> None:
        """Forgets what was kept."""
        self._values.clear()

    def close(self) -> None:
        """Takes the hooks away and forgets what was kept."""
        for handle in self._handles:
            handle.remove()
        self.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, object]:
        """Without what was kept: another process hears it anew."""
        return self.__dict__ | {"_values": {}}

    def _keep(self, name: str, module: nn.Module, arguments: object, answer: object) -> None:
        self._values[name] = answer


def attention_in(answer: object) -> Tensor | None:
    """Probabilities [batch, heads, sequence, sequence] among a module's answers."""
    if not isinstance(answer, tuple) or len(answer) < 2:
        return None
    second = answer[1]
    square = isinstance(second, Tensor) and second.ndim == 4 and second.shape[-1] == second.shape[-2]
    return second if square else None
