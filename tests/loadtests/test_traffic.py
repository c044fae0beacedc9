import itertools
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.traffic import Samples, address, build, passes, user_names
from optimizer.artifact.rows import Rows
from optimizer.artifact.signature import TensorSpec
from optimizer.errors import InvalidDataset
from service.client import inference
from service.wire.open_inference import grpc_service_pb2 as oip

_INPUTS = (
    TensorSpec(name="pixels", datatype="FP32", shape=("batch", 2, 3)),
    TensorSpec(name="mask", datatype="INT64", shape=("batch", 2)),
)
_DATA = Rows(
    {
        "pixels": np.arange(5 * 6, dtype=np.float64).reshape(5, 2, 3),
        "mask": np.arange(10, dtype=np.int32).reshape(5, 2),
    }
)
_TEXT = st.text(max_size=20)


def whole(row: int, key: str = "", variant: str = "", request_id: str = "") -> oip.ModelInferRequest:
    arrays = {
        "pixels": _DATA.arrays["pixels"][[row]].astype(np.float32),
        "mask": _DATA.arrays["mask"][[row]].astype(np.int64),
    }
    return inference.request("digits", arrays, variant, key, request_id=request_id)


@given(st.integers(0, 2), _TEXT, _TEXT, _TEXT)
def test_body_and_address_parse_as_one_message(position: int, key: str, variant: str, request_id: str) -> None:
    samples = build("digits", _DATA, [4, 0, 2], _INPUTS)
    sent = samples.bodies[position] + address(key, variant, request_id)
    assert oip.ModelInferRequest.FromString(sent) == whole([4, 0, 2][position], key, variant, request_id)


def test_data_that_does_not_fit_the_model_is_refused() -> None:
    with pytest.raises(InvalidDataset, match="other"):
        build("digits", _DATA, [0], [TensorSpec(name="other", datatype="FP32", shape=("batch", 3))])


@given(st.lists(st.binary(max_size=50), min_size=1, max_size=6))
def test_samples_come_back_from_their_file(tmp_path_factory: pytest.TempPathFactory, bodies: list[bytes]) -> None:
    path: Path = tmp_path_factory.mktemp("samples") / "samples.npz"
    Samples(np.arange(len(bodies), dtype=np.int64) * 3, tuple(bodies)).save(path)
    back = Samples.load(path)
    assert back.bodies == tuple(bodies)
    assert back.rows.tolist() == [3 * position for position in range(len(bodies))]
    assert len(back) == len(bodies)


@given(st.integers(1, 40), st.integers(1, 4), st.integers(0, 1000))
def test_each_pass_deals_every_row_once(count: int, times: int, seed: int) -> None:
    dealt = list(itertools.islice(passes(count, random.Random(seed)), times * count))
    for start in range(0, len(dealt), count):
        assert sorted(dealt[start : start + count]) == list(range(count))
    assert set(Counter(dealt).values()) == {times}


def test_passes_differ_in_their_order() -> None:
    deal = passes(50, random.Random(0))
    first, second = (list(itertools.islice(deal, 50)) for _ in range(2))
    assert first != second


def test_there_must_be_something_to_deal() -> None:
    with pytest.raises(ValueError, match="nothing to send"):
        next(passes(0, random.Random(0)))


def test_users_have_names_of_their_own() -> None:
    assert len(set(user_names(300))) == 300
