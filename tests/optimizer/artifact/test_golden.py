"""Golden answers: read back as written, tolerant of another processor, intolerant of another model."""

from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.artifact import golden
from optimizer.errors import InvalidCheckpoint

LOGITS = np.random.default_rng(0).normal(size=(8, 10)).astype(np.float32)


def test_written_answers_are_read_back(tmp_path: Path) -> None:
    half = np.arange(4, dtype=np.float32).astype(ml_dtypes.bfloat16)
    golden.write(tmp_path / "golden.npz", {"x": LOGITS, "a/b": half}, {"y": LOGITS[0], "n": np.array(3)})
    found = golden.read(tmp_path / "golden.npz")
    assert np.array_equal(found.inputs["x"], LOGITS)
    assert (found.inputs["a/b"].dtype, found.inputs["a/b"].tolist()) == (np.float32, [0, 1, 2, 3])
    assert np.array_equal(found.outputs["y"], LOGITS[0])
    assert found.outputs["n"] == 3


@pytest.mark.parametrize("data", [b"", b"garbage", b"PK\x03\x04"])
def test_other_files_are_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "golden.npz").write_bytes(data)
    with pytest.raises(InvalidCheckpoint, match="cannot be read"):
        golden.read(tmp_path / "golden.npz")


def test_an_archive_of_something_else_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "golden.npz", x=LOGITS)
    with pytest.raises(InvalidCheckpoint, match="cannot be read"):
        golden.read(tmp_path / "golden.npz")


@given(st.integers(0, 1000), st.floats(0.01, 100), st.floats(-5, 5))
def test_noise_of_int8_agrees_and_another_model_does_not(seed: int, scale: float, offset: float) -> None:
    random = np.random.default_rng(seed)
    expected = random.normal(size=(8, 10)) * scale + offset * scale
    noisy = expected + 0.1 * scale * random.normal(size=(8, 10))
    other = random.normal(size=(8, 10)) * scale + offset * scale
    assert golden.parity({"y": expected}, {"y": noisy}).ok
    verdict = golden.parity({"y": expected}, {"y": other})
    assert not verdict.ok
    assert verdict.error > 0.5
    assert "times the variation of its rows" in verdict.reason


@pytest.mark.parametrize(
    ("actual", "words"),
    [
        ({}, "'y' is missing"),
        ({"y": LOGITS[:4]}, "has shape"),
        ({"y": np.where(LOGITS > 2, np.nan, LOGITS)}, "NaN or infinite"),
        ({"y": np.zeros_like(LOGITS)}, "is off by"),
        ({"y": -LOGITS}, "is off by"),
        ({"y": LOGITS[::-1]}, "is off by"),
    ],
)
def test_wrong_answers_are_named(actual: dict[str, np.ndarray], words: str) -> None:
    verdict = golden.parity({"y": LOGITS}, actual)
    assert not verdict.ok
    assert words in verdict.reason


def test_equal_answers_agree_exactly() -> None:
    expected = {
        "y": LOGITS,
        "n": np.arange(5),
        "inf": np.array([1.0, np.inf, np.nan]),
        "none": np.zeros((0, 3)),
        "one": np.array([2.0]),
    }
    assert golden.parity(expected, expected) == golden.Parity(True, 0.0)


def test_nearly_constant_answers_are_judged_by_their_size() -> None:
    constant = np.full((8, 3), 5.0) + 1e-4 * LOGITS[:, :3]
    assert golden.parity({"y": constant}, {"y": constant + 0.01}).ok
    assert not golden.parity({"y": constant}, {"y": constant + 1}).ok


def test_whole_numbers_may_differ_in_a_quarter() -> None:
    expected = np.zeros(8, np.int64)
    assert golden.parity({"y": expected}, {"y": expected + (np.arange(8) < 2)}).ok
    assert not golden.parity({"y": expected}, {"y": expected + (np.arange(8) < 3)}).ok
