import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from service.client import tensors
from service.errors import InvalidArgument, ServiceError

_TYPES = st.sampled_from(["?", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8", ">f4", ">i8"])


@given(hnp.arrays(_TYPES, hnp.array_shapes(min_dims=0, min_side=0)))
def test_arrays_survive_the_wire(array: tensors.Array) -> None:
    found = tensors.from_raw(tensors.to_raw(array), tensors.datatype_of(array), array.shape)
    np.testing.assert_array_equal(found, array)


@given(st.lists(st.binary(max_size=40)))
def test_byte_strings_survive_the_wire(items: list[bytes]) -> None:
    array = np.array(items, dtype=object)
    assert tensors.from_raw(tensors.to_raw(array), "BYTES", array.shape).tolist() == items


def test_text_is_sent_as_utf8() -> None:
    assert tensors.from_raw(tensors.to_raw(np.array(["ü"])), "BYTES", (1,)).tolist() == ["ü".encode()]


def test_bfloat16_arrives_as_float32() -> None:
    raw = np.array([0x3F80, 0xC000], "<u2").tobytes()
    np.testing.assert_array_equal(tensors.from_raw(raw, "BF16", (2,)), np.array([1.0, -2.0], np.float32))


def test_types_outside_the_protocol_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="complex"):
        tensors.datatype_of(np.zeros(1, complex))
    with pytest.raises(InvalidArgument, match="int"):
        tensors.to_raw(np.array([1], dtype=object))


@pytest.mark.parametrize(
    ("raw", "datatype", "shape"),
    [(b"\0" * 7, "FP32", (2,)), (b"\0" * 4, "FP32", (2,)), (b"\x05\0\0\0ab", "BYTES", (1,)), (b"", "FP9", (0,))],
)
def test_answers_that_do_not_fit_are_refused(raw: bytes, datatype: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ServiceError, match="the server sent"):
        tensors.from_raw(raw, datatype, shape)
