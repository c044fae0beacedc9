"""Finds the layers of a network whose answers can be held against those of another: by running it once and looking."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from optimizer.errors import NotApplicable
from optimizer.intake.predictor import Predictor
from optimizer.train.matching import attention_in


@dataclass(frozen=True)
class Layers:
    """Names of modules in the order in which they are called."""

    # Blocks of a transformer, or the last module at each size of the maps of a convolutional network.
    blocks: tuple[str, ...]
    # The module in each block that answers with its attention; empty for convolutional networks.
    attention: tuple[str, ...]
    # Whether the blocks answer tokens [batch, sequence, width], not maps [batch, channels, ...].
    tokens: bool


def layers_of(predictor: Predictor, example: tuple[Tensor, ...]) -> Layers:
    """The layers of `predictor`'s network. Raises NotApplicable when none are found."""
    calls = _calls(predictor, example)
    blocks = max(_stacks(predictor.network, calls), key=len, default=())
    if blocks:
        inside = [_first_attention(block, calls) for block in blocks]
        return Layers(blocks, tuple(inner for inner in inside if inner is not None), tokens=True)
    stages = _stages(calls)
    if not stages:
        raise NotApplicable("the network has no layers whose inner values could be matched")
    return Layers(stages, (), tokens=False)


def evenly(few: int, many: int) -> tuple[int, ...]:
    """Which of `many` layers each of `few` answers to: spread evenly, the last to the last (TinyBERT's mapping)."""
    if not 0 < few <= many:
        raise ValueError(f"{few} layers cannot answer to {many}")
    return tuple((position + 1) * many // few - 1 for position in range(few))


def _calls(predictor: Predictor, example: tuple[Tensor, ...]) -> dict[str, object]:
    """What each module of the network answered, in the order in which they ended."""
    calls: dict[str, object] = {}

    def keep(name: str) -> Callable[[nn.Module, object, object], None]:
        def hook(module: nn.Module, arguments: object, answer: object) -> None:
            calls.pop(name, None)
            calls[name] = answer

        return hook

    handles = [module.register_forward_hook(keep(name)) for name, module in predictor.network.named_modules() if name]
    mode = predictor.training
    try:
        with torch.no_grad():
            predictor.eval()(*example)
    finally:
        predictor.train(mode)
        for handle in handles:
            handle.remove()
    return calls


def _stacks(network: nn.Module, calls: dict[str, object]) -> list[tuple[str, ...]]:
    """Lists of modules that all look around among tokens, and answer as many."""
    found = []
    for path, module in network.named_modules():
        names = tuple(f"{path}.{child}" for child, _ in module.named_children())
        answers = [_first(calls.get(name)) for name in names]
        tokens = [answer.shape for answer in answers if answer is not None and answer.ndim == 3]
        alike = isinstance(module, nn.ModuleList) and len(tokens) == len(names) and len(set(tokens)) == 1
        if alike and _first_attention(names[0], calls) is not None:
            found.append(names)
    return found


def _stages(calls: dict[str, object]) -> tuple[str, ...]:
    """The last module at each size of maps, from large to small; single points are no maps."""
    last: dict[tuple[int, ...], str] = {}
    for name, answer in calls.items():
        maps = _first(answer)
        if maps is not None and maps.ndim in (3, 4) and max(maps.shape[2:]) > 1:
            last[tuple(maps.shape[2:])] = name
    return tuple(last.values())


def _first_attention(block: str, calls: dict[str, object]) -> str | None:
    inside = (name for name in calls if name.startswith(f"{block}.") and attention_in(calls[name]) is not None)
    return next(inside, None)


def _first(answer: object) -> Tensor | None:
    value = answer[0] if isinstance(answer, tuple | list) and answer else answer
    return value if isinstance(value, Tensor) else None
