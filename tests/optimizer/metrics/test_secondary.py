"""Figures beside the metric, against scikit-learn and by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, r2_score

from optimizer.metrics.secondary import (
    absolute_error,
    binary_f1,
    calibration_error,
    explained,
    intervals,
    label_macro_f1,
    macro_f1,
    token_macro_f1,
    token_share,
)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3), st.integers(0, 3)), min_size=3, max_size=40))
def test_sums_of_drawn_rows_give_scikit_learns_f1_of_those_rows(rows: list[tuple[int, int, int]]) -> None:
    said, truth, weight = np.array(rows).T
    figure = macro_f1(said, truth)
    everything = figure.values(np.ones((1, len(rows))) @ figure.parts)
    assert everything[0] == pytest.approx(figure.value)
    if weight.any():
        drawn = np.repeat(np.arange(len(rows)), weight)
        expected = f1_score(truth[drawn], said[drawn], average="macro", zero_division=0)
        assert figure.values(weight[None].astype(float) @ figure.parts)[0] == pytest.approx(expected)


def test_r2_of_drawn_rows_is_scikit_learns() -> None:
    random = np.random.default_rng(0)
    truth = random.normal(100, 3, (60, 2))
    said = truth + random.normal(0, 1, (60, 2))
    figure = explained(said, truth)
    assert figure is not None
    weight = random.integers(0, 3, 60)
    drawn = np.repeat(np.arange(60), weight)
    assert figure.values(weight[None] @ figure.parts)[0] == pytest.approx(r2_score(truth[drawn], said[drawn]))
    assert explained(said, np.ones((60, 2))) is None


def test_intervals_hold_the_value_and_are_the_same_again() -> None:
    random = np.random.default_rng(1)
    truth = random.integers(0, 2, 200)
    said = np.where(random.random(200) < 0.8, truth, 1 - truth)
    numbers = truth + random.normal(0, 0.3, 200)
    figures = [macro_f1(said, truth), binary_f1(said, truth), absolute_error(numbers, truth)]
    found = intervals(figures, None, seed=3)
    assert all(interval.low < interval.value < interval.high for interval in found)
    assert found == intervals(figures, None, seed=3)
    grouped = intervals(figures, np.arange(200) // 50, seed=3)
    assert grouped[0].high - grouped[0].low != found[0].high - found[0].low
    assert intervals([], None, seed=3) == []


def test_confidence_that_keeps_its_word_has_little_error_and_boasting_has_much() -> None:
    random = np.random.default_rng(2)
    confidence = random.uniform(0.5, 1.0, 6000)
    right = random.random(6000) < confidence
    honest, boasting = calibration_error(confidence, right), calibration_error(np.full(6000, 1.0), right)
    assert honest.value < 0.03
    assert boasting.value == pytest.approx(1 - right.mean())
    assert calibration_error(np.array([0.75]), np.array([True])).value == pytest.approx(0.25)


def test_tokens_that_do_not_count_do_not_count() -> None:
    truth = np.array([[0, 1, -100], [1, -100, -100]])
    said = np.array([[0, 0, 5], [1, 7, 7]])
    figure = token_macro_f1(said, truth, truth != -100)
    assert figure.value == pytest.approx(f1_score([0, 1, 1], [0, 0, 1], average="macro"))
    assert figure.values(np.ones((1, 2)) @ figure.parts)[0] == pytest.approx(figure.value)
    share = token_share("share", np.array([1, 1]), np.array([2, 1]))
    assert share is not None
    assert share.value == pytest.approx(2 / 3)
    assert token_share("share", np.array([0]), np.array([0])) is None


def test_labels_that_never_occur_do_not_count() -> None:
    truth = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 0]])
    said = np.array([[1, 0, 0], [0, 1, 0], [0, 1, 0]])
    figure = label_macro_f1(said, truth)
    assert figure.value == pytest.approx((2 / 3 + 1) / 2)
    assert figure.values(np.ones((1, 3)) @ figure.parts)[0] == pytest.approx(figure.value)
    assert label_macro_f1(np.zeros((2, 2)), np.zeros((2, 2))).value == 1.0
