"""Random changes to pictures [batch, channels, height, width]: mirrored, moved, partly blanked."""

import torch
from torch import Tensor
from torch.nn import functional


def flipped(pictures: Tensor, random: torch.Generator) -> Tensor:
    """Every second picture mirrored left to right, on average."""
    mirrored = torch.rand(len(pictures), generator=random).to(pictures.device) < 0.5
    return torch.where(mirrored[:, None, None, None], pictures.flip(-1), pictures)


def moved(pictures: Tensor, share: float, random: torch.Generator) -> Tensor:
    """Each picture cut at random out of itself with a reflected border of `share` of its size (He et al., 2016)."""
    _, _, height, width = pictures.shape
    down, right = _border(height, share), _border(width, share)
    if not down and not right:
        return pictures
    padded = functional.pad(pictures, (right, right, down, down), mode="reflect")
    rows = torch.randint(0, 2 * down + 1, (len(pictures), 1), generator=random) + torch.arange(height)
    columns = torch.randint(0, 2 * right + 1, (len(pictures), 1), generator=random) + torch.arange(width)
    which = torch.arange(len(pictures))[:, None, None]
    # Indexed axes come first, so the channels end up last.
    cut = padded[which.to(padded.device), :, rows[:, :, None].to(padded.device), columns[:, None].to(padded.device)]
    return cut.permute(0, 3, 1, 2)


def cut_out(pictures: Tensor, share: float, random: torch.Generator) -> Tensor:
    """A square of each picture, of `share` of its side, set to the picture's mean (DeVries and Taylor, 2017)."""
    if not share:
        return pictures
    inside = _span(len(pictures), pictures.shape[2], share, random)[:, :, None]
    inside = inside & _span(len(pictures), pictures.shape[3], share, random)[:, None, :]
    means = pictures.mean(dim=(2, 3), keepdim=True)
    return torch.where(inside[:, None].to(pictures.device), means, pictures)


def _border(size: int, share: float) -> int:
    # A reflection cannot be wider than what it reflects.
    return min(round(size * share), size - 1)


def _span(count: int, size: int, share: float, random: torch.Generator) -> Tensor:
    """Which places of an axis lie in a stretch around a random middle, cut at the ends: [count, size]."""
    half = max(1.0, size * share) / 2
    middles = torch.rand(count, 1, generator=random) * size
    return (torch.arange(size) + 0.5 - middles).abs() < half
