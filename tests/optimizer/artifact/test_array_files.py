"""Array files of strangers: what is read, and every way in which a file can lie about itself."""

import io
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from optimizer.artifact.array_files import read_npz, read_parquet, read_safetensors
from optimizer.errors import InvalidDataset

ARRAYS = {
    "x": np.arange(24, dtype=np.float32).reshape(4, 3, 2),
    "ids": np.arange(4, dtype=np.int64),
    "mask": np.array([True, False, True, True]),
}


def same(found: dict[str, Any], expected: dict[str, Any]) -> bool:
    return set(found) == set(expected) and all(
        found[name].dtype == array.dtype and np.array_equal(found[name], array) for name, array in expected.items()
    )


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz_is_read_back(tmp_path: Path, save: Any) -> None:
    arrays = ARRAYS | {
        "fortran": np.asfortranarray(ARRAYS["x"]),
        "big": ARRAYS["x"].astype(">f8"),
        "none": np.zeros((0, 3)),
    }
    save(tmp_path / "d.npz", **arrays)
    assert same(read_npz(tmp_path / "d.npz", "d.npz"), arrays)


def test_safetensors_is_read_back(tmp_path: Path) -> None:
    arrays = ARRAYS | {"none": np.zeros((0, 3), np.float32)}
    save_file(arrays, tmp_path / "d.safetensors")
    assert same(read_safetensors(tmp_path / "d.safetensors", "d"), arrays)


def test_parquet_is_read_back(tmp_path: Path) -> None:
    tensor = pa.FixedShapeTensorArray.from_numpy_ndarray(ARRAYS["x"])
    table = pa.table(
        {
            "x": ARRAYS["x"].tolist(),
            "fixed": pa.array(ARRAYS["x"].reshape(4, 6).tolist(), pa.list_(pa.float32(), 6)),
            "tensor": tensor,
            "ids": ARRAYS["ids"],
            "mask": ARRAYS["mask"],
            "group": ["a", "b", "a", "c"],
            "packed": pa.array(["u", "v", "u", "u"]).dictionary_encode(),
        }
    )
    pq.write_table(table, tmp_path / "d.parquet", row_group_size=2)
    assert same(
        read_parquet(tmp_path / "d.parquet", "d"),
        {
            "x": ARRAYS["x"].astype(np.float64),
            "fixed": ARRAYS["x"].reshape(4, 6),
            "tensor": ARRAYS["x"],
            "ids": ARRAYS["ids"],
            "mask": ARRAYS["mask"],
            "group": np.array(["a", "b", "a", "c"]),
            "packed": np.array(["u", "v", "u", "u"]),
        },
    )


@pytest.mark.parametrize(
    ("column", "words"),
    [
        ([[1, 2], [3]], r"lists of different lengths \(1 to 2\); pad them"),
        ([1, None], "1 missing values"),
        ([[1, None], [2, 3]], "1 missing values"),
        ([b"a", b"b"], "type binary; allowed are numbers"),
        ([{"a": 1}, {"a": 2}], "type struct"),
    ],
)
def test_parquet_columns_must_be_arrays(tmp_path: Path, column: list[Any], words: str) -> None:
    pq.write_table(pa.table({"x": column}), tmp_path / "d.parquet")
    with pytest.raises(InvalidDataset, match=f"d.parquet: column 'x' has {words}"):
        read_parquet(tmp_path / "d.parquet", "d.parquet")


def test_pickled_objects_are_never_opened(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=np.array([{"a": 1}, None], dtype=object))
    with pytest.raises(InvalidDataset, match="array 'x' holds Python objects, which are pickles"):
        read_npz(tmp_path / "d.npz", "d.npz")


def npy(shape: str, data: bytes, descr: str = "'<f4'") -> bytes:
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + data


def archive(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return path


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (npy("(1000000000, 1000)", b"\0" * 8), "is damaged: shape .* needs 4000000000000 bytes"),
        (npy("(3,)", b"\0" * 8), "is damaged"),
        (npy("(-1, 2)", b"\0" * 8), "is damaged"),
        (npy("(1,) * 3", b"\0" * 8), "cannot be read"),
        (npy("(1,1,1,1,1,1,1,1,2)", b"\0" * 8), "has 9 axes"),
        (npy("(1,)", b"\0" * 8), "needs 4 bytes, the file holds 8"),
        (npy("(2,)", b"\0" * 8, "__import__('os')"), "cannot be read"),
        (b"\x93NUMPY\x03\x00", "cannot be read"),
        (b"", "cannot be read"),
        (b"PK", "cannot be read"),
    ],
)
def test_npy_headers_that_lie(tmp_path: Path, data: bytes, words: str) -> None:
    with pytest.raises(InvalidDataset, match=words):
        read_npz(archive(tmp_path / "d.npz", {"x.npy": data}), "d.npz")


def test_decompression_bombs_are_refused_before_they_unfold(tmp_path: Path) -> None:
    bomb = archive(tmp_path / "d.npz", {"x.npy": npy("(80000000,)", bytes(320_000_000))}, zipfile.ZIP_DEFLATED)
    assert bomb.stat().st_size < 400_000
    with pytest.raises(InvalidDataset, match=r"would unpack to 3200000.. bytes; at most 268435456 are allowed"):
        read_npz(bomb, "d.npz")


def test_archives_hold_arrays_only_and_not_too_many(tmp_path: Path) -> None:
    with pytest.raises(InvalidDataset, match=r"unexpected entry 'readme.txt'"):
        read_npz(archive(tmp_path / "a.npz", {"readme.txt": b"x"}), "a.npz")
    many = {f"{number}.npy": b"" for number in range(65)}
    with pytest.raises(InvalidDataset, match="65 arrays; at most 64"):
        read_npz(archive(tmp_path / "b.npz", many), "b.npz")


@pytest.mark.parametrize("reader", [read_npz, read_parquet, read_safetensors])
@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"PAR1PAR1", b"<html>", bytes(100), b"\x80\x04."])
def test_garbage_is_refused_by_every_reader(tmp_path: Path, reader: Any, data: bytes) -> None:
    (tmp_path / "d").write_bytes(data)
    with pytest.raises(InvalidDataset, match=r"^data\.x "):
        reader(tmp_path / "d", "data.x")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from([read_npz, read_parquet, read_safetensors]), st.data())
def test_a_mutated_file_is_read_or_refused_but_never_anything_else(
    tmp_path: Path, reader: Any, data: st.DataObject
) -> None:
    stream = io.BytesIO()
    if reader is read_npz:
        np.savez_compressed(stream, x=ARRAYS["x"], ids=ARRAYS["ids"])
    elif reader is read_parquet:
        pq.write_table(pa.table({"x": ARRAYS["x"].tolist(), "ids": ARRAYS["ids"]}), stream)
    else:
        save_file({"x": ARRAYS["x"]}, tmp_path / "d")
        stream.write((tmp_path / "d").read_bytes())
    content = bytearray(stream.getvalue())
    for _ in range(data.draw(st.integers(1, 3))):
        position = data.draw(st.integers(0, len(content) - 1))
        content[position : position + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
        content = content or bytearray(b"x")
    (tmp_path / "d").write_bytes(content)
    try:
        reader(tmp_path / "d", "d")
    except InvalidDataset as error:
        assert str(tmp_path) not in str(error)  # noqa: PT017 - some mutations are harmless
