"""Makes inputs up where there are none to learn from: pictures that a network finds ordinary, and mixes of tokens.

Pictures (DeepInversion, Yin et al., CVPR 2020; ZeroQ, Cai et al., CVPR 2020): noise is changed until every batch
normalisation sees the statistics that it remembers of the training data, and the network is sure of a class drawn by
lot. Tokens: random ones, or real rows with some of their tokens replaced.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from optimizer.errors import NotApplicable
from optimizer.intake.predictor import Predictor

_NORMALISATIONS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_BATCH = 64
_RATE = 0.05
# Weights of being sure of a class, and of neighbouring points being alike.
_CLASS, _SMOOTH = 0.1, 0.003


def pictures(
    predictor: Predictor,
    shape: tuple[int, ...],
    count: int,
    seed: int,
    *,
    classes: bool,
    steps: int = 200,
    told: Callable[[float], None] = lambda share: None,
) -> Tensor:
    """`count` inputs [count, *shape] that fit what the network remembers; it is left as it was.

    `classes` says whether its answers are scores of classes. Raises NotApplicable for a network without batch
    normalisation, which remembers nothing.
    """
    remembered = [module for module in predictor.modules() if isinstance(module, _NORMALISATIONS)]
    if not any(module.track_running_stats for module in remembered):
        raise NotApplicable("inputs cannot be made up: the network has no batch normalisation to remember real ones by")
    mode, frozen = predictor.training, [parameter.requires_grad for parameter in predictor.parameters()]
    predictor.eval().requires_grad_(False)
    distances: list[Tensor] = []
    handles = [module.register_forward_pre_hook(_distance(distances)) for module in remembered]
    random = torch.Generator().manual_seed(seed)
    try:
        parts = []
        for start in range(0, count, _BATCH):
            wanted = (min(_BATCH, count - start), *shape)
            parts.append(_batch(predictor, wanted, distances, random, classes=classes, steps=steps))
            told((start + wanted[0]) / count)
    finally:
        for handle in handles:
            handle.remove()
        predictor.train(mode)
        for parameter, learns in zip(predictor.parameters(), frozen, strict=True):
            parameter.requires_grad_(learns)
    return torch.cat(parts)


def tokens(real: Tensor | None, length: int, count: int, vocabulary: int, seed: int) -> Tensor:
    """Tokens [count, length]: those of real rows [rows, length], from none to all of them replaced at random.

    The first token of a row, which often is a sign of its own, stays. Without real rows all are drawn by lot.
    """
    random = torch.Generator().manual_seed(seed)
    drawn = torch.randint(vocabulary, (count, length), generator=random)
    if real is None:
        return drawn
    rows = real[torch.randint(len(real), (count,), generator=random)]
    # Half of the new tokens are words that the real rows use.
    used = real.flatten()[torch.randint(real.numel(), (count, length), generator=random)]
    drawn = torch.where(torch.rand(count, length, generator=random) < 0.5, used, drawn)
    replaced = torch.rand(count, length, generator=random) < torch.rand(count, 1, generator=random)
    replaced[:, 0] = False
    return torch.where(replaced, drawn, rows)


def _batch(
    predictor: Predictor,
    shape: tuple[int, ...],
    distances: list[Tensor],
    random: torch.Generator,
    *,
    classes: bool,
    steps: int,
) -> Tensor:
    made = torch.randn(shape, generator=random).requires_grad_()
    optimizer = torch.optim.Adam([made], lr=_RATE)
    scheduler = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    wanted: Tensor | None = None
    for _ in range(steps):
        optimizer.zero_grad()
        distances.clear()
        answers = predictor(made)
        loss = torch.stack(distances).mean() + _SMOOTH * _roughness(made)
        if classes:
            if wanted is None:
                wanted = torch.randint(answers.shape[-1], (len(made),), generator=random)
            loss = loss + _CLASS * functional.cross_entropy(answers, wanted)
        loss.backward()
        optimizer.step()
        scheduler.step()
    distances.clear()
    return made.detach()


def _distance(distances: list[Tensor]) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    """A hook that notes how far a batch's statistics lie from those remembered, in units of these."""

    def hook(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        values = arguments[0]
        axes = [axis for axis in range(values.ndim) if axis != 1]
        mean, variance = values.mean(axes), values.var(axes, unbiased=False)
        assert isinstance(module.running_mean, Tensor)
        assert isinstance(module.running_var, Tensor)
        usual = module.running_var + 1e-5
        distances.append(((mean - module.running_mean) ** 2 / usual).mean() + ((variance / usual - 1) ** 2).mean())

    return hook


def _roughness(made: Tensor) -> Tensor:
    """Mean squared difference of neighbours along the last axes."""
    return torch.stack([(made.diff(dim=axis) ** 2).mean() for axis in range(2, made.ndim)] or [torch.zeros(())]).sum()
