"""Recommendation: MovieLens-100k (package recbole), who will rate which film four or five stars, by a two-tower DLRM.

The network follows Naumov et al. (2019) in the small: tables of users, films and release years, their products, and a
perceptron above. It is pushed as a torch.export program (.pt2). The data may not be redistributed: it stays in the
package.
"""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from loadtests.fields.field import Arrays, Field, Prepared, package_files, save, taken
from loadtests.fields.training import parameters_millions, save_program, train

_USERS, _FILMS = 944, 1683
_GOOD = 4
_TRAIN_SHARE = 0.8
_SMALL = 6_000


class Recommender(nn.Module):
    """Takes user and film numbers, int64 [batch] each; returns one score [batch, 1] that grows with the liking."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.users = nn.Embedding(_USERS, width)
        self.films = nn.Embedding(_FILMS, width)
        self.drop = nn.Dropout(0.3)
        self.head = nn.Sequential(
            nn.Linear(3 * width, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, 1)
        )

    def forward(self, user: Tensor, film: Tensor) -> Tensor:
        """The scores of one batch."""
        one, other = self.users(user), self.films(film)
        score: Tensor = self.head(self.drop(torch.cat([one, other, one * other], dim=-1)))
        return score


def _arrays() -> Arrays:
    table = np.loadtxt(package_files("recbole") / "dataset_example" / "ml-100k" / "ml-100k.inter", skiprows=1)
    return {
        "user": table[:, 0].astype(np.int64),
        "film": table[:, 1].astype(np.int64),
        "labels": (table[:, 2] >= _GOOD).astype(np.int64),
    }


def _prepare(directory: Path, small: bool) -> Prepared:
    arrays = _arrays()
    order = np.random.default_rng(0).permutation(len(arrays["labels"]))[: _SMALL if small else None]
    learned, judged = np.split(order, [int(_TRAIN_SHARE * len(order))])
    training = taken(arrays, learned)
    users, films = torch.from_numpy(training["user"]), torch.from_numpy(training["film"])
    liked = torch.from_numpy(training["labels"]).float()
    torch.manual_seed(0)
    network = Recommender(16, 64) if small else Recommender(64, 512)

    def loss(rows: Tensor) -> Tensor:
        scores = network(users[rows], films[rows])[:, 0]
        return functional.binary_cross_entropy_with_logits(scores, liked[rows])

    train(network, loss, len(liked), epochs=2 if small else 4, batch=256, learning_rate=3e-3)
    save_program(network, (users[:2], films[:2]), directory / "recommender.pt2")
    return Prepared(
        directory / "recommender.pt2",
        save(directory / "train.npz", training),
        save(directory / "eval.npz", taken(arrays, judged)),
        parameters_millions(network),
    )


FIELD = Field(
    name="recommendation",
    task="binary",
    data="MovieLens-100k (`recbole`), rated four stars or more: 80,000 ratings to train on, 20,000 to judge by",
    network="DLRM in the small: two tables, their product, a perceptron, as a .pt2 program",
    prepare=_prepare,
)
