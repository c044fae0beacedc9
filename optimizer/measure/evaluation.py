"""A model's answers on the evaluation rows, row by row, so that any figure can be recomputed and paired."""

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from optimizer.errors import InvalidCheckpoint


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Arrays of one length: which rows (of their file), 1 or 0 as each was right or not, and the class said."""

    rows: NDArray[np.int64]
    score: NDArray[np.float32]
    prediction: NDArray[np.int64]

    def save(self, path: Path) -> None:
        """Writes evaluation.npz."""
        with path.open("wb") as stream:
            np.savez_compressed(stream, rows=self.rows, score=self.score, prediction=self.prediction)

    @classmethod
    def load(cls, path: Path) -> "Evaluation":
        """Reads what `save` wrote. Raises InvalidCheckpoint for anything else."""
        try:
            # NumPy leaves a file open that it opened itself and found damaged.
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
                loaded = cls(
                    archive["rows"].astype(np.int64),
                    archive["score"].astype(np.float32),
                    archive["prediction"].astype(np.int64),
                )
        except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile) as error:
            raise InvalidCheckpoint("the source's answers on the evaluation rows cannot be read") from error
        if not len(loaded.rows) == len(loaded.score) == len(loaded.prediction):
            raise InvalidCheckpoint("the source's answers on the evaluation rows do not fit together")
        return loaded
