"""Splits a data set into training, calibration, selection and evaluation rows that share nothing.

One file is split 55 / 5 / 10 / 30: the evaluation part is large since it decides what differences can be told apart.
Of a train and an eval file the whole eval file is the evaluation part, and the train file is split in the same ratio
55 / 5 / 10.

What belongs together stays together: rows of one group, and rows with equal inputs. Exact duplicates (equal inputs and
equal label) are removed from what is split; training rows whose inputs or group occur in an eval file are removed too,
so that nothing that was learned is evaluated. An eval file itself is taken as it is.

The order is drawn by sha256 over the seed and the rows' content, never by a random generator: the same data and seed
give the same split with every version of NumPy.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from optimizer.artifact.digest import of_bytes
from optimizer.artifact.rows import Rows
from optimizer.errors import InvalidDataset

TRAIN, CALIBRATION, SELECTION, EVALUATION = "train", "calibration", "selection", "evaluation"
SHARES = {TRAIN: 55, CALIBRATION: 5, SELECTION: 10, EVALUATION: 30}
# More rows than these resolve differences of a tenth of a point; the rest of one file is better spent on training.
MOST_EVALUATION_ROWS = 20_000
_TARGET_STRATA = 10


@dataclass(frozen=True, eq=False)
class Part:
    """Rows of one file. They are mixed: the first k are a fair sample of the part for every k."""

    name: str
    # Which file of the data set ("all", "train", "eval").
    file: str
    indices: NDArray[np.int64]

    @property
    def digest(self) -> str:
        """sha256 of the file's role, a zero byte, and the ascending row indices as little-endian int64."""
        return of_bytes(self.file.encode() + b"\0" + np.sort(self.indices).astype("<i8").tobytes())


@dataclass(frozen=True)
class Splits:
    """The four parts of a data set; none is empty, no row is in two."""

    train: Part
    calibration: Part
    selection: Part
    evaluation: Part
    # Rows left out because an equal row (or one of the same group, in the eval file) is in.
    removed: int

    @property
    def parts(self) -> tuple[Part, ...]:
        """All four."""
        return (self.train, self.calibration, self.selection, self.evaluation)

    def digests(self) -> dict[str, str]:
        """Digest of each part, by name."""
        return {part.name: part.digest for part in self.parts}


@dataclass(frozen=True)
class _Unit:
    """Rows that must not be torn apart."""

    rows: tuple[int, ...]
    stratum: int
    order: bytes


def split(files: Mapping[str, Rows], seed: int) -> Splits:
    """Splits {"all": rows} or {"train": rows, "eval": rows}. Raises InvalidDataset when there are too few rows.

    Stratified by label, as far as groups allow. A pure function of the files' content and the seed.
    """
    if set(files) == {"all"}:
        return _split_one(files["all"], seed)
    if set(files) == {"train", "eval"}:
        return _split_two(files["train"], files["eval"], seed)
    raise InvalidDataset(f"a data set is one file, or a `train` and an `eval` file, not {sorted(files)}")


def _split_one(rows: Rows, seed: int) -> Splits:
    units, removed = _units(rows, seed, content_of(rows), without=frozenset(), without_groups=frozenset())
    total = sum(len(unit.rows) for unit in units)
    shares = {name: Fraction(share, 100) for name, share in SHARES.items()}
    if shares[EVALUATION] * total > MOST_EVALUATION_ROWS:
        shares[EVALUATION] = Fraction(MOST_EVALUATION_ROWS, total)
        shares[TRAIN] = 1 - shares[EVALUATION] - shares[CALIBRATION] - shares[SELECTION]
    parts = {name: Part(name, "all", indices) for name, indices in _deal(units, shares).items()}
    return Splits(parts[TRAIN], parts[CALIBRATION], parts[SELECTION], parts[EVALUATION], removed)


def _split_two(train: Rows, evaluation: Rows, seed: int) -> Splits:
    groups = frozenset() if evaluation.group is None else frozenset(_group_names(evaluation.group))
    units, removed = _units(
        train, seed, content_of(train), without=frozenset(content_of(evaluation)), without_groups=groups
    )
    names = (TRAIN, CALIBRATION, SELECTION)
    whole = sum(SHARES[name] for name in names)
    dealt = _deal(units, {name: Fraction(SHARES[name], whole) for name in names})
    parts = {name: Part(name, "train", indices) for name, indices in dealt.items()}
    everything = Part(EVALUATION, "eval", np.arange(len(evaluation), dtype=np.int64))
    return Splits(parts[TRAIN], parts[CALIBRATION], parts[SELECTION], everything, removed)


def content_of(rows: Rows) -> list[bytes]:
    """A digest of each row's inputs, equal for equal values whatever width of number they are stored in."""
    columns = [(name.encode(), _canonical(rows.arrays[name])) for name in sorted(rows.arrays)]
    digests = []
    for index in range(len(rows)):
        digest = hashlib.sha256()
        for name, array in columns:
            digest.update(name)
            digest.update(array[index].tobytes())
        digests.append(digest.digest())
    return digests


def _canonical(array: NDArray[np.generic]) -> NDArray[np.generic]:
    # Zero has two signs in floating point; adding 0.0 leaves one.
    if array.dtype.kind in "biu":
        return array.astype("<i8")
    return array.astype("<f4") + np.float32(0.0)


def _group_names(group: NDArray[np.generic]) -> list[str]:
    return [str(value) for value in group.tolist()]


def _units(
    rows: Rows, seed: int, content: Sequence[bytes], *, without: frozenset[bytes], without_groups: frozenset[str]
) -> tuple[list[_Unit], int]:
    """The rows that stay, joined where they belong together, and how many were removed."""
    groups = None if rows.group is None else _group_names(rows.group)
    labels = _strata(rows)
    seen: set[tuple[bytes, bytes]] = set()
    members: dict[str | bytes, list[int]] = {}
    # Equal inputs in two groups join the groups.
    joined = _Joined()
    for index, key in enumerate(content):
        row = (key, b"" if rows.labels is None else rows.labels[index].tobytes())
        if key in without or row in seen or (groups is not None and groups[index] in without_groups):
            continue
        seen.add(row)
        if groups is None:
            members.setdefault(key, []).append(index)
        else:
            joined.join(groups[index], key)
            members.setdefault(groups[index], []).append(index)
    if groups is not None:
        by_root: dict[str | bytes, list[int]] = {}
        for name, indices in members.items():
            by_root.setdefault(joined.root(name), []).extend(indices)
        members = by_root
    units = [_unit(sorted(indices), labels, content, seed) for indices in members.values()]
    return units, len(rows) - sum(len(unit.rows) for unit in units)


def _strata(rows: Rows) -> NDArray[np.int64]:
    """What rows are stratified by: their class, the tenth in which their target lies, nothing for several labels."""
    labels = rows.labels
    if labels is None or labels.ndim > 1:
        return np.zeros(len(rows), np.int64)
    if labels.dtype.kind != "f":
        return labels.astype(np.int64)
    edges = np.quantile(labels, np.linspace(0, 1, _TARGET_STRATA + 1)[1:-1])
    return np.searchsorted(edges, labels).astype(np.int64)


class _Joined:
    """Disjoint sets of names."""

    def __init__(self) -> None:
        self._parent: dict[str | bytes, str | bytes] = {}

    def root(self, name: str | bytes) -> str | bytes:
        """The name that stands for the set."""
        while (parent := self._parent.setdefault(name, name)) != name:
            self._parent[name] = self._parent[parent]
            name = parent
        return name

    def join(self, one: str | bytes, other: str | bytes) -> None:
        """Makes one set of two."""
        self._parent[self.root(other)] = self.root(one)


def _unit(indices: list[int], labels: NDArray[np.int64], content: Sequence[bytes], seed: int) -> _Unit:
    digest = hashlib.sha256(str(seed).encode())
    for key in sorted(content[index] for index in indices):
        digest.update(key)
    # A unit of mixed labels stands with its most frequent one, the smallest of equally frequent ones.
    values, counts = np.unique(labels[indices], return_counts=True)
    return _Unit(tuple(indices), int(values[counts.argmax()]), digest.digest())


def _deal(units: list[_Unit], shares: Mapping[str, Fraction]) -> dict[str, NDArray[np.int64]]:
    """Deals the units out, stratum by stratum; every part gets its share within one unit, and at least one unit.

    Each unit goes to the part that lags furthest behind its share of all rows dealt so far. That keeps the shares true
    in every run of units, so within each stratum too, without a rule of its own for strata of a single row.
    """
    available = sum(len(unit.rows) for unit in units)
    if len(units) < len(shares) or available < 2 * len(shares):
        raise InvalidDataset(
            f"the data to split has {available} different rows in {len(units)} groups; at least {2 * len(shares)} "
            f"rows in {len(shares)} groups are needed to train on some and judge on others"
        )
    # Whole numbers in the same proportion: exact like fractions, and fast.
    scale = math.lcm(*(share.denominator for share in shares.values()))
    weights = {name: int(share * scale) for name, share in shares.items()}
    dealt: dict[str, list[_Unit]] = {name: [] for name in shares}
    rows = dict.fromkeys(shares, 0)
    total = 0
    for unit in sorted(units, key=lambda unit: (unit.stratum, unit.order)):
        total += len(unit.rows)
        part = max(weights, key=lambda name: weights[name] * total - scale * rows[name])
        dealt[part].append(unit)
        rows[part] += len(unit.rows)
    for name in shares:
        if not dealt[name]:
            richest = max(dealt, key=lambda other: len(dealt[other]))
            smallest = min(dealt[richest], key=lambda unit: (len(unit.rows), unit.order))
            dealt[richest].remove(smallest)
            dealt[name].append(smallest)
    return {
        name: np.array(
            [row for unit in sorted(taken, key=lambda unit: unit.order) for row in unit.rows], dtype=np.int64
        )
        for name, taken in dealt.items()
    }
