"""Data sets: what fits a checkpoint, and a sentence for what does not."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.artifact.dataset import check, dataset_digest, read
from optimizer.artifact.inspected import InputFacts, Inspection
from optimizer.artifact.rows import Rows
from optimizer.errors import InvalidDataset

IMAGE = Inspection(
    format="huggingface",
    kind="image",
    classes=50,
    inputs={"pixel_values": InputFacts(datatype="FP32", shape=("batch", 3, "height", "width"))},
)
TEXT = Inspection(
    format="huggingface",
    kind="text",
    classes=2,
    inputs={
        "input_ids": InputFacts(datatype="INT64", shape=("batch", "sequence"), minimum=0, maximum=99),
        "attention_mask": InputFacts(
            datatype="INT64", shape=("batch", "sequence"), required=False, minimum=0, maximum=1
        ),
    },
    limits={"sequence": 16},
)


def tensor(classes: int | None = 3, **inputs: InputFacts) -> Inspection:
    return Inspection(format="onnx", kind="tensor", classes=classes, inputs=inputs)


def images(n: int = 20, labels: Any = "ten", **changes: Any) -> Rows:
    arrays = {"pixel_values": np.zeros((n, 3, 4, 5), np.float32)} | changes
    return Rows(arrays, np.arange(n) % 10 if isinstance(labels, str) else labels)


def texts(n: int = 20, **changes: Any) -> Rows:
    arrays = {"input_ids": np.ones((n, 8), np.int64), "attention_mask": np.ones((n, 8), np.int64)} | changes
    return Rows(arrays, np.arange(n) % 2)


def test_fifty_classes_of_which_ten_are_used_are_fine() -> None:
    assert check({"all": images()}, IMAGE) == "classification"


def test_without_labels_the_task_is_agreement() -> None:
    assert check({"all": images(labels=None)}, IMAGE) == "agreement"
    assert check({"all": images()}, IMAGE, "agreement") == "agreement"
    with pytest.raises(InvalidDataset, match="task classification needs an array `labels` in every file"):
        check({"all": images(labels=None)}, IMAGE, "classification")
    with pytest.raises(InvalidDataset, match=r"the data \(eval\) has none"):
        check({"train": images(), "eval": images(labels=None)}, IMAGE)
    with pytest.raises(InvalidDataset, match="unknown task 'ranking'; allowed are classification, binary"):
        check({"all": images()}, IMAGE, "ranking")


def test_one_score_makes_no_classes() -> None:
    one_score = tensor(1, x=InputFacts(datatype="FP32", shape=("batch", 2)))
    with pytest.raises(InvalidDataset, match="one score a row"):
        check({"all": Rows({"x": np.zeros((20, 2))}, np.zeros(20, np.int64))}, one_score, "classification")


@pytest.mark.parametrize("label", [-1, 50, 2**40])
def test_labels_out_of_range_are_refused(label: int) -> None:
    labels = np.arange(20) % 10
    labels[7] = label
    with pytest.raises(
        InvalidDataset, match=f"1 labels out of range, the first being {label} in row 7; labels go from 0 to 49"
    ):
        check({"all": images(labels=labels)}, IMAGE)


def test_labels_of_unknown_range_are_not_negative() -> None:
    unknown = tensor(None, x=InputFacts(datatype="FP32", shape=("batch", 2)))
    rows = Rows({"x": np.zeros((20, 2))}, np.arange(20))
    assert check({"all": rows}, unknown) == "classification"
    with pytest.raises(InvalidDataset, match="labels go from 0 on"):
        check({"all": Rows(rows.arrays, rows.labels - 1)}, unknown)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((20, 1, 4, 5)), r"rows of shape \[1, 4, 5\], but the model takes \[3, height, width\] a row"),
        (np.zeros((20, 4, 5, 3)), r"channels come first: array.transpose\(0, 3, 1, 2\)"),
        (np.zeros((20, 3, 4)), "has rows of shape"),
        (np.zeros((20, 3, 0, 5)), "has rows of shape"),
        (np.full((20, 3, 4, 5), np.nan), "NaN, infinite or too large for FP32, first in row 0"),
        (np.full((20, 3, 4, 5), 1e300), "too large for FP32"),
    ],
)
def test_images_that_do_not_fit(array: np.ndarray, words: str) -> None:
    with pytest.raises(InvalidDataset, match=words):
        check({"all": images(pixel_values=array)}, IMAGE)


def test_bytes_are_fine_where_floats_are_wanted() -> None:
    assert check({"all": images(pixel_values=np.zeros((20, 3, 4, 5), np.uint8))}, IMAGE) == "classification"


def test_the_first_bad_row_is_named() -> None:
    array = np.zeros((20, 3, 4, 5), np.float32)
    array[13, 1, 2, 3] = np.inf
    with pytest.raises(InvalidDataset, match="first in row 13"):
        check({"all": images(pixel_values=array)}, IMAGE)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"input_ids": np.full((20, 8), 100)}, "'input_ids' holds 100; allowed are 0 to 99"),
        ({"input_ids": np.full((20, 8), -1)}, "'input_ids' holds -1; allowed are 0 to 99"),
        ({"input_ids": np.ones((20, 8))}, r"holds float64, but the model takes whole numbers \(INT64\)"),
        ({"attention_mask": np.full((20, 8), 2)}, "'attention_mask' holds 2; allowed are 0 to 1"),
        ({"attention_mask": np.ones((20, 9), np.int64)}, "has 9 along 'sequence', but array 'input_ids' has 8"),
        ({"input_ids": np.ones((20, 17), np.int64)}, "has 17 along 'sequence'; the model takes at most 16"),
        (
            {"token_type_ids": np.ones((20, 8))},
            "does not take: token_type_ids; allowed are input_ids, attention_mask .optional.",
        ),
        ({"label": np.ones(20)}, "does not take: label; .* and labels and group and sample_weight"),
    ],
)
def test_texts_that_do_not_fit(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidDataset, match=words):
        check({"all": texts(**changes)}, TEXT)


def test_optional_arrays_may_be_left_out_and_needed_ones_may_not() -> None:
    ids = {"input_ids": np.ones((20, 8), np.int32)}
    assert check({"all": Rows(ids)}, TEXT) == "agreement"
    with pytest.raises(InvalidDataset, match="lacks the arrays input_ids"):
        check({"all": Rows({"attention_mask": np.ones((20, 8), np.int64)})}, TEXT)
    with pytest.raises(InvalidDataset, match="must hold the same arrays"):
        check({"train": texts(), "eval": Rows(ids, np.zeros(20, np.int64))}, TEXT)


@pytest.mark.parametrize(
    ("shape", "row", "fits"),
    [
        ((1, 3, 8), (3, 8), True),
        ((1, 3, 8), (1, 3, 8), True),
        ((16,), (16,), True),
        (("sequence", 8), (5, 8), True),
        ((), (), True),
        (("batch",), (), True),
        ((4, 3), (3,), False),
        ((16,), (1, 16), False),
        ((1, 3, 8), (3, 9), False),
    ],
)
def test_rows_of_models_without_a_batch(shape: tuple[Any, ...], row: tuple[int, ...], fits: bool) -> None:
    inspection = tensor(x=InputFacts(datatype="FP32", shape=shape))
    rows = Rows({"x": np.zeros((20, *row))})
    if fits:
        assert check({"all": rows}, inspection) == "agreement"
    else:
        with pytest.raises(InvalidDataset, match="has rows of shape"):
            check({"all": rows}, inspection)


def test_a_fixed_batch_is_explained() -> None:
    with pytest.raises(InvalidDataset, match="first axis is fixed at 4; export it with a dynamic first axis"):
        check({"all": Rows({"x": np.zeros((20, 3))})}, tensor(x=InputFacts(datatype="FP32", shape=(4, 3))))


def test_an_input_of_unknown_rank_takes_what_comes() -> None:
    assert check({"all": Rows({"x": np.zeros((20, 3, 1))})}, tensor(x=InputFacts(datatype="FP32", shape=None)))


@given(st.sampled_from(["UINT8", "INT8", "INT32", "BOOL"]), st.integers(-(2**40), 2**40))
def test_whole_numbers_must_fit_the_inputs_type(datatype: str, value: int) -> None:
    ranges = {"UINT8": (0, 255), "INT8": (-128, 127), "INT32": (-(2**31), 2**31 - 1), "BOOL": (0, 1)}
    low, high = ranges[datatype]
    rows = Rows({"x": np.full(12, value, np.int64)})
    inspection = tensor(x=InputFacts(datatype=datatype, shape=("batch",)))
    if low <= value <= high:
        assert check({"all": rows}, inspection) == "agreement"
    else:
        with pytest.raises(InvalidDataset, match=f"holds {value}; allowed are {low} to {high}"):
            check({"all": rows}, inspection)


def test_splits_have_known_names_and_rows_enough() -> None:
    with pytest.raises(InvalidDataset, match="one file, or a `train` and an `eval` file"):
        check({"test": images()}, IMAGE)
    with pytest.raises(InvalidDataset, match="the data has 9 rows; at least 10 are needed"):
        check({"all": images(9)}, IMAGE)
    with pytest.raises(InvalidDataset, match="the eval data has 1 rows"):
        check({"train": images(), "eval": images(1)}, IMAGE)


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"labels": np.zeros(3, int)}, "holds no input array"),
        ({"x": np.float32(1)}, "'x' is a single value; the first axis must be the rows"),
        ({"x": np.zeros(3), "labels": np.zeros(4, int)}, "different numbers of rows: labels 4, x 3"),
        ({"x": np.zeros(3), "labels": np.zeros((3, 1, 1), int)}, r"labels has shape \[3, 1, 1\]"),
        ({"x": np.zeros(3), "labels": np.array([0.0, np.nan, 1.0])}, "labels holds values that are NaN"),
        ({"x": np.zeros(3), "sample_weight": np.array([1.0, -1.0, 1.0])}, "sample_weight must hold numbers from 0 on"),
        ({"x": np.zeros(3), "slice.city": np.zeros((3, 2))}, r"slice.city has shape \[3, 2\]"),
        ({"x": np.zeros(3), "labels": np.full(3, 2**63, np.uint64)}, "labels holds 9223372036854775808"),
        ({"x": np.zeros(3), "group": np.zeros((3, 2))}, r"group has shape \[3, 2\]"),
        ({"x": np.array(["a", "b"])}, "'x' holds <U1; allowed are numbers"),
        ({"x": np.zeros(3, complex)}, "'x' holds complex128"),
    ],
)
def test_files_that_are_no_data_sets(tmp_path: Path, arrays: dict[str, Any], words: str) -> None:
    np.savez(tmp_path / "d.npz", **arrays)
    with pytest.raises(InvalidDataset, match=words):
        read(tmp_path / "d.npz", "d.npz")


def test_labels_and_groups_are_set_apart(tmp_path: Path) -> None:
    np.savez(tmp_path / "d", x=np.zeros((3, 2)), labels=np.array([0, 1, 2], np.uint8), group=np.array(["a", "a", "b"]))
    rows = read(tmp_path / "d.npz", "My Data.NPZ")
    assert len(rows) == 3
    assert list(rows.arrays) == ["x"]
    assert rows.labels is not None
    assert (rows.labels.dtype, rows.labels.tolist()) == (np.int64, [0, 1, 2])
    assert rows.group is not None
    assert rows.group.tolist() == ["a", "a", "b"]


def test_weights_and_slices_are_set_apart(tmp_path: Path) -> None:
    arrays = {"x": np.zeros(3), "labels": np.array([0.5, 1.5, 2.5]), "sample_weight": np.array([1, 0, 2])}
    np.savez(tmp_path / "d", **arrays, **{"slice.city": np.array(["a", "b", "a"])})
    rows = read(tmp_path / "d.npz", "d.npz").take(np.array([2, 0]))
    assert list(rows.arrays) == ["x"]
    assert rows.labels is not None
    assert (rows.labels.dtype, rows.labels.tolist()) == (np.float32, [2.5, 0.5])
    assert rows.weight is not None
    assert rows.weight.tolist() == [2.0, 1.0]
    assert rows.slices["city"].tolist() == ["a", "a"]
    assert rows.unlabelled().labels is None


def test_other_suffixes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidDataset, match=r"d.csv: a data set is a .npz, .safetensors or .parquet file"):
        read(tmp_path / "d.csv", "d.csv")


def test_the_digest_knows_which_file_is_which() -> None:
    assert dataset_digest({"train": "a" * 64, "eval": "b" * 64}) != dataset_digest(
        {"train": "b" * 64, "eval": "a" * 64}
    )
