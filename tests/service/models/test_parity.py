import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from service.models.parity import difference, first_difference

arrays = npst.arrays(np.float32, npst.array_shapes(max_dims=3, max_side=5), elements=st.floats(-1e3, 1e3, width=32))


@given(arrays)
def test_an_answer_agrees_with_itself(array) -> None:
    assert difference("y", array, array.copy()) is None


@given(arrays, st.integers(0, 2**32 - 1))
def test_noise_of_one_percent_agrees(array, seed) -> None:
    scale = 0.01 * np.abs(array).mean() if array.size else 0.0
    noisy = array + np.random.default_rng(seed).normal(size=array.shape).astype(np.float32) * np.float32(scale)
    assert difference("y", array, noisy) is None


def test_logits_that_move_while_their_decisions_stay_agree() -> None:
    logits = np.eye(10, dtype=np.float32)
    assert difference("y", logits, logits * 1.5 + 0.2) is None


def test_another_models_answers_do_not_agree() -> None:
    rng = np.random.default_rng(0)
    want, have = rng.normal(size=(32, 10)), rng.normal(size=(32, 10))
    assert "agrees in" in difference("y", want, have)
    assert "relatively" in difference("y", want[:, 0], have[:, 0])


def test_what_is_not_finite_does_not_agree() -> None:
    want = np.ones((4, 3), np.float32)
    have = want.copy()
    have[2, 1] = np.nan
    assert "finite" in difference("y", want, have)


def test_another_shape_does_not_agree() -> None:
    assert "shape" in difference("y", np.ones((2, 3)), np.ones((3, 2)))


def test_words_and_labels_must_be_equal_in_nine_rows_of_ten() -> None:
    words = np.array([b"a"] * 20, object)
    other = words.copy()
    other[0] = b"b"
    assert difference("y", words, other) is None
    other[:5] = b"b"
    assert "75%" in difference("y", words, other)


def test_the_first_output_that_differs_is_named() -> None:
    one = np.eye(2)
    assert "'second'" in first_difference(["first", "second"], [one, one], [one, one[::-1]])
