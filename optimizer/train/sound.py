"""Random changes to sound, the time along the last axis: waveforms [batch, time], spectrograms [batch, bands, time]."""

import torch
from torch import Tensor


def louder(waves: Tensor, decibels: float, random: torch.Generator) -> Tensor:
    """Each row louder or softer by up to so many decibels; spectrograms, which are logarithms, are left alone."""
    if not decibels or waves.ndim != 2:
        return waves
    gains = 10 ** (decibels * (2 * torch.rand(len(waves), 1, generator=random) - 1) / 20)
    return waves * gains.to(waves.device, waves.dtype)


def shifted(sound: Tensor, share: float, random: torch.Generator) -> Tensor:
    """Each row moved in time by up to `share` of its length; what leaves at one end comes back at the other."""
    length = sound.shape[-1]
    most = round(share * length)
    if not most:
        return sound
    offsets = torch.randint(-most, most + 1, (len(sound), 1), generator=random)
    places = ((torch.arange(length) - offsets) % length).to(sound.device)
    shape = (len(sound), *(1,) * (sound.ndim - 2), length)
    return sound.gather(-1, places.reshape(shape).expand(sound.shape))


def masked(sound: Tensor, share: float, random: torch.Generator) -> Tensor:
    """A stretch of the time, and of the bands, of up to `share`, set to the row's mean (Park et al., 2019)."""
    if not share:
        return sound
    means = sound.flatten(1).mean(dim=1).reshape(-1, *(1,) * (sound.ndim - 1))
    for axis in range(1, sound.ndim):
        size = sound.shape[axis]
        widths = torch.rand(len(sound), 1, generator=random) * share * size
        starts = torch.rand(len(sound), 1, generator=random) * (size - widths)
        places = torch.arange(size) + 0.5
        gone = (places >= starts) & (places < starts + widths)
        shape = [len(sound), *(size if other == axis else 1 for other in range(1, sound.ndim))]
        sound = torch.where(gone.reshape(shape).to(sound.device), means, sound)
    return sound
