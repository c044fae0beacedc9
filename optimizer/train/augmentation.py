"""Changes the inputs of a batch at random, as suits their kind; each row by itself, all drawn from one generator."""

from collections.abc import Callable
from enum import StrEnum

import torch
from torch import Tensor

from optimizer.recipe.augmentation import Augmentation
from optimizer.train import pictures, sound

# Inputs of the transformers library that hold sound, whatever their shape.
_SOUND = ("input_values", "input_features", "audio", "waveform")
_IDS, _MASK = "input_ids", "attention_mask"


class Kind(StrEnum):
    """What one input of a model holds."""

    PICTURE = "picture"
    SOUND = "sound"
    TABLE = "table"
    TOKENS = "tokens"
    # Masks, positions, segments: never changed.
    OTHER = "other"


def kind_of(name: str, tensor: Tensor) -> Kind:
    """The kind of an input, by its name, data type and number of axes."""
    if not tensor.is_floating_point():
        return Kind.TOKENS if name == _IDS else Kind.OTHER
    if name in _SOUND:
        return Kind.SOUND
    return {4: Kind.PICTURE, 3: Kind.SOUND, 2: Kind.TABLE}.get(tensor.ndim, Kind.OTHER)


class Augmenter:
    """Augments batches of the inputs that it was made with."""

    def __init__(self, settings: Augmentation, names: tuple[str, ...], inputs: tuple[Tensor, ...]) -> None:
        """`inputs` are all training rows, whose spread and means changes are measured by."""
        self._settings = settings
        self._names = names
        self._kinds = [kind_of(name, tensor) for name, tensor in zip(names, inputs, strict=True)]
        numbers = [tensor.is_floating_point() for tensor in inputs]
        self._spreads = [
            float(tensor.std(correction=0)) if number else 0.0 for tensor, number in zip(inputs, numbers, strict=True)
        ]
        self._means = [
            tensor.mean(dim=0) if kind is Kind.TABLE else None for tensor, kind in zip(inputs, self._kinds, strict=True)
        ]
        # Tokens and targets cannot be mixed by halves.
        self.mixes = settings.mixup > 0 and all(numbers)

    def __call__(self, tensors: tuple[Tensor, ...], random: torch.Generator) -> tuple[Tensor, ...]:
        """The batch, changed; what it was given stays as it is."""
        mask = dict(zip(self._names, tensors, strict=True)).get(_MASK)
        return tuple(
            self._changed(position, tensor, mask, random) if len(tensor) else tensor
            for position, tensor in enumerate(tensors)
        )

    def share(self, random: torch.Generator) -> float:
        """How much of each row stays itself when two are mixed: lambda ~ Beta(mixup, mixup)."""
        # Torch draws gamma variates from no generator of ours but by this function.
        concentration = torch.full((2,), self._settings.mixup, dtype=torch.float64)
        gammas = torch._standard_gamma(concentration, generator=random)
        total = float(gammas.sum())
        return float(gammas[0]) / total if total > 0 else 1.0

    def _changed(self, position: int, tensor: Tensor, mask: Tensor | None, random: torch.Generator) -> Tensor:
        kind, settings, spread = self._kinds[position], self._settings, self._spreads[position]
        if kind is Kind.TOKENS:
            return _without_tokens(tensor, mask, settings.token_dropout, settings.token, random)
        steps: list[Callable[[Tensor], Tensor]] = []
        if kind is Kind.PICTURE:
            steps = [
                lambda x: pictures.flipped(x, random) if settings.flip else x,
                lambda x: pictures.moved(x, settings.crop, random),
                lambda x: pictures.cut_out(x, settings.cutout, random),
            ]
        elif kind is Kind.SOUND:
            steps = [
                lambda x: sound.louder(x, settings.gain_db, random),
                lambda x: sound.shifted(x, settings.shift, random),
                lambda x: sound.masked(x, settings.masking, random),
            ]
        elif kind is Kind.TABLE:
            mean = self._means[position]
            assert mean is not None
            steps = [lambda x: _without_features(x, mean, settings.feature_dropout, random)]
        if kind is not Kind.OTHER:
            steps.append(lambda x: _noisy(x, settings.noise * spread, random))
        for step in steps:
            tensor = step(tensor)
        return tensor


def _noisy(tensor: Tensor, deviation: float, random: torch.Generator) -> Tensor:
    if not deviation:
        return tensor
    noise = torch.randn(tensor.shape, generator=random, dtype=torch.float32)
    return tensor + deviation * noise.to(tensor.device, tensor.dtype)


def _without_features(tensor: Tensor, mean: Tensor, probability: float, random: torch.Generator) -> Tensor:
    if not probability:
        return tensor
    gone = torch.rand(tensor.shape, generator=random) < probability
    return torch.where(gone.to(tensor.device), mean.to(tensor.device), tensor)


def _without_tokens(
    tokens: Tensor, mask: Tensor | None, probability: float, token: int | None, random: torch.Generator
) -> Tensor:
    """Tokens [batch, sequence], some replaced; never padding, nor the first, which models read their answer from."""
    if not probability:
        return tokens
    gone = (torch.rand(tokens.shape, generator=random) < probability).to(tokens.device)
    gone[:, 0] = False
    if mask is not None:
        gone &= mask > 0
    if token is not None:
        return tokens.masked_fill(gone, token)
    places = torch.rand(tokens.shape, generator=random).to(tokens.device)
    lengths = torch.full_like(tokens[:, :1], tokens.shape[1]) if mask is None else mask.sum(1, keepdim=True)
    others = tokens.gather(1, (places * lengths).long().clamp(max=tokens.shape[1] - 1))
    return torch.where(gone, others, tokens)
