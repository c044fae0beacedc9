"""A model's answers on the evaluation rows, row by row, so that any figure can be recomputed and paired."""

import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optimizer.errors import InvalidCheckpoint
from optimizer.metrics.answers import Floats

_DETAIL = "detail."


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Arrays of one length: which rows (of their file), the statistics of each, and what was said of it.

    `statistics` [rows, k] are those of `optimizer.metrics.scoring`; of classes it is one column, 1 or 0 as each was
    right or not. `prediction` is what `optimizer.metrics.answers.predictions` says, None where that says nothing or
    would be too much to keep. `details` holds further values a row (`optimizer.metrics.details`).
    """

    rows: NDArray[np.int64]
    statistics: Floats
    prediction: NDArray[Any] | None = None
    details: dict[str, NDArray[np.float32]] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Writes evaluation.npz."""
        arrays: dict[str, NDArray[Any]] = {"rows": self.rows, "statistics": self.statistics}
        if self.prediction is not None:
            arrays["prediction"] = self.prediction
        arrays |= {_DETAIL + name: values for name, values in self.details.items()}
        with path.open("wb") as stream:
            np.savez_compressed(stream, allow_pickle=False, **arrays)

    @classmethod
    def load(cls, path: Path) -> "Evaluation":
        """Reads what `save` wrote. Raises InvalidCheckpoint for anything else."""
        try:
            # NumPy leaves a file open that it opened itself and found damaged.
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
                loaded = cls(
                    archive["rows"].astype(np.int64),
                    archive["statistics"].astype(np.float64),
                    archive["prediction"] if "prediction" in archive.files else None,
                    {
                        name.removeprefix(_DETAIL): archive[name].astype(np.float32)
                        for name in archive.files
                        if name.startswith(_DETAIL)
                    },
                )
        except (OSError, ValueError, KeyError, EOFError, TypeError, zipfile.BadZipFile) as error:
            raise InvalidCheckpoint("the source's answers on the evaluation rows cannot be read") from error
        arrays: list[NDArray[Any]] = [loaded.statistics, *loaded.details.values()]
        arrays += [] if loaded.prediction is None else [loaded.prediction]
        if (
            loaded.rows.ndim != 1
            or loaded.statistics.ndim != 2
            or any(array.ndim < 1 or len(array) != len(loaded.rows) for array in arrays)
        ):
            raise InvalidCheckpoint("the source's answers on the evaluation rows do not fit together")
        return loaded
