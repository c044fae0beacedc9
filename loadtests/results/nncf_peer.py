"""Quantises one ONNX file with NNCF as it ships: `python nncf_peer.py SOURCE CALIBRATION.npz TO`.

Runs in an environment of its own and imports nothing of this repository.
"""

import sys

import nncf
import numpy as np
import onnx


def main() -> int:
    """Reads, quantises, writes."""
    source, fed, to = sys.argv[1:]
    with np.load(fed, allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    rows = len(next(iter(arrays.values())))
    feeds = [{name: array[row : row + 1] for name, array in arrays.items()} for row in range(rows)]
    quantised = nncf.quantize(onnx.load(source), nncf.Dataset(feeds), subset_size=rows)
    onnx.save(quantised, to)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
