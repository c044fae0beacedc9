"""Peak memory: counted in a fresh process, about what the weights take."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from optimizer.artifact.session import SessionSpec
from optimizer.errors import PassFailed
from optimizer.measure.memory import peak_growth_bytes

FED = {"x": np.ones((4, 6), np.float32)}


def test_memory_grows_with_the_weights_whatever_this_process_holds(save: Callable[..., Path], tmp_path: Path) -> None:
    ballast = np.ones(2**25)
    small = peak_growth_bytes(save("small.onnx"), FED, SessionSpec(), tmp_path)
    # Two million weights of four bytes, loaded and repacked.
    large = peak_growth_bytes(save("large.onnx", work=1448), FED, SessionSpec(), tmp_path)
    assert ballast.nbytes > 2 * large
    assert small < 4 * 2**20
    assert 8 * 2**20 < large < 64 * 2**20
    assert not list(tmp_path.glob("memory-*"))


def test_a_model_that_cannot_run_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"no")
    with pytest.raises(PassFailed, match="memory cannot be measured"):
        peak_growth_bytes(tmp_path / "bad.onnx", FED, SessionSpec(), tmp_path)
