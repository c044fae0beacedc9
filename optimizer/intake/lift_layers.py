"""Layers for calls of ATen operations: how the arguments of one become a module with the same weights.

Each maker gets the call's arguments by the names of the operation's schema, weights as tensors, and returns a module
that takes the one input, or None when the call has no such form.
"""

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

Arguments = Mapping[str, Any]
Maker = Callable[[Arguments], nn.Module | None]


def _adopt(module: nn.Module, arguments: Arguments) -> nn.Module:
    """Gives the layer the program's own tensors: parameters stay the objects that they are, and stay tied."""
    for key in ("weight", "bias"):
        tensor = arguments.get(key)
        if isinstance(tensor, nn.Parameter):
            setattr(module, key, tensor)
        elif tensor is not None:
            setattr(module, key, nn.Parameter(tensor))
    return module


def _linear(arguments: Arguments) -> nn.Module | None:
    weight: Tensor = arguments["weight"]
    if weight.dim() != 2:
        return None
    return _adopt(nn.Linear(weight.shape[1], weight.shape[0], bias=arguments["bias"] is not None), arguments)


def _convolution(kind: Any, axes: int) -> Maker:
    def make(arguments: Arguments) -> nn.Module | None:
        weight: Tensor = arguments["weight"]
        groups = arguments["groups"]
        padding = arguments["padding"]
        return _adopt(
            kind(
                weight.shape[1] * groups,
                weight.shape[0],
                tuple(weight.shape[2:]),
                stride=_each(arguments["stride"], axes),
                padding=padding if isinstance(padding, str) else _each(padding, axes),
                dilation=_each(arguments["dilation"], axes),
                groups=groups,
                bias=arguments["bias"] is not None,
            ),
            arguments,
        )

    return make


def _transposed(kind: Any, axes: int) -> Maker:
    def make(arguments: Arguments) -> nn.Module | None:
        weight: Tensor = arguments["weight"]
        groups = arguments["groups"]
        return _adopt(
            kind(
                weight.shape[0],
                weight.shape[1] * groups,
                tuple(weight.shape[2:]),
                stride=_each(arguments["stride"], axes),
                padding=_each(arguments["padding"], axes),
                output_padding=_each(arguments["output_padding"], axes),
                dilation=_each(arguments["dilation"], axes),
                groups=groups,
                bias=arguments["bias"] is not None,
            ),
            arguments,
        )

    return make


def _batch_norm(arguments: Arguments) -> nn.Module | None:
    mean, variance = arguments["running_mean"], arguments["running_var"]
    if mean is None or variance is None:
        return None
    kind = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d, 5: nn.BatchNorm3d}.get(arguments["axes"])
    if kind is None:
        return None
    affine = arguments["weight"] is not None
    module = kind(len(mean), eps=arguments["eps"], momentum=arguments["momentum"], affine=affine)
    module.running_mean, module.running_var = mean, variance
    return _adopt(module, arguments)


def _layer_norm(arguments: Arguments) -> nn.Module | None:
    weight = arguments["weight"]
    shape = list(arguments["normalized_shape"])
    if not all(isinstance(size, int) for size in shape):
        return None
    module = nn.LayerNorm(
        shape, eps=arguments["eps"], elementwise_affine=weight is not None, bias=arguments["bias"] is not None
    )
    return _adopt(module, arguments)


def _group_norm(arguments: Arguments) -> nn.Module | None:
    weight = arguments["weight"]
    if weight is None:
        return None
    return _adopt(nn.GroupNorm(arguments["num_groups"], len(weight), eps=arguments["eps"]), arguments)


def _embedding(arguments: Arguments) -> nn.Module | None:
    weight: Tensor = arguments["weight"]
    if arguments["scale_grad_by_freq"] or arguments["sparse"]:
        return None
    padding = arguments["padding_idx"]
    module = nn.Embedding(weight.shape[0], weight.shape[1], padding_idx=padding if padding >= 0 else None)
    return _adopt(module, arguments)


def _each(value: Any, axes: int) -> tuple[int, ...]:
    sizes = [value] if isinstance(value, int) else list(value)
    return tuple(sizes * axes if len(sizes) == 1 else sizes)


MAKERS: Mapping[str, Maker] = {
    "linear": _linear,
    "conv1d": _convolution(nn.Conv1d, 1),
    "conv2d": _convolution(nn.Conv2d, 2),
    "conv3d": _convolution(nn.Conv3d, 3),
    "conv_transpose1d": _transposed(nn.ConvTranspose1d, 1),
    "conv_transpose2d": _transposed(nn.ConvTranspose2d, 2),
    "batch_norm": _batch_norm,
    "layer_norm": _layer_norm,
    "group_norm": _group_norm,
    "embedding": _embedding,
}
# The argument that the layer takes when it is called; all others are its own.
INPUT: Mapping[str, str] = {"embedding": "indices"}
