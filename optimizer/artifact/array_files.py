"""Reads named arrays from .npz, .safetensors and .parquet files of strangers: nothing is unpickled, sizes are checked
before memory is taken."""

import math
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from optimizer.artifact.safetensors_header import BadSafetensors, read_header
from optimizer.artifact.sniff import describe
from optimizer.errors import InvalidDataset

Arrays = dict[str, NDArray[Any]]

_MEMBERS = 64
_AXES = 8
_BYTES = 8 * 2**30
# A compressed file may grow freely to this size, and beyond it by this factor: more is a decompression bomb.
_FREE_BYTES = 256 * 2**20
_GROWTH = 100
_NPY_HEADER_BYTES = 64 * 1024
_PARQUET_BATCH = 1024


def read_npz(path: Path, name: str) -> Arrays:
    """All arrays of a NumPy archive. Raises InvalidDataset."""
    allowed = min(_BYTES, max(_FREE_BYTES, _GROWTH * path.stat().st_size))
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if len(members) > _MEMBERS:
                raise InvalidDataset(f"{name} holds {len(members)} arrays; at most {_MEMBERS} are allowed")
            declared = sum(member.file_size for member in members)
            if declared > allowed:
                raise InvalidDataset(
                    f"{name} would unpack to {declared} bytes; at most {allowed} are allowed for a file of its size"
                )
            arrays: Arrays = {}
            for member in members:
                array_name = member.filename.removesuffix(".npy")
                if array_name == member.filename or array_name in arrays:
                    raise InvalidDataset(f"{name} is no NumPy archive: unexpected entry {member.filename[:80]!r}")
                arrays[array_name] = _read_npy(archive, member, name)
            return arrays
    # What zipfile, zlib and numpy raise for damaged, encrypted or exotic archives.
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        ValueError,
        RuntimeError,
        OSError,
        SyntaxError,
        TypeError,
    ) as error:
        raise InvalidDataset(f"{name} cannot be read as a NumPy archive (.npz){_instead(path)}") from error


def read_safetensors(path: Path, name: str) -> Arrays:
    """All tensors of a safetensors file, mapped read-only from disk. Raises InvalidDataset."""
    try:
        entries = read_header(path)
    except BadSafetensors as error:
        raise InvalidDataset(f"{name} {error}{_instead(path)}") from None
    if len(entries) > _MEMBERS:
        raise InvalidDataset(f"{name} holds {len(entries)} arrays; at most {_MEMBERS} are allowed")
    arrays: Arrays = {}
    for array_name, entry in entries.items():
        if entry.numpy_dtype is None:
            raise InvalidDataset(f"{name}: array {array_name[:80]!r} has type {entry.dtype}, which data cannot have")
        if entry.begin == entry.end:
            arrays[array_name] = np.empty(entry.shape, entry.numpy_dtype)
        else:
            mapped = np.memmap(path, dtype=np.uint8, mode="r", offset=entry.begin, shape=(entry.end - entry.begin,))
            arrays[array_name] = np.frombuffer(mapped, dtype=entry.numpy_dtype).reshape(entry.shape)
    return arrays


def read_parquet(path: Path, name: str) -> Arrays:
    """All columns of a Parquet file; (nested) list columns of equal lengths become axes. Raises InvalidDataset."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise InvalidDataset(
            f"{name}: this installation cannot read Parquet (pyarrow is missing); send .npz or .safetensors instead"
        ) from None
    try:
        with pq.ParquetFile(path) as file:
            if file.metadata.num_columns > _MEMBERS:
                raise InvalidDataset(
                    f"{name} holds {file.metadata.num_columns} columns; at most {_MEMBERS} are allowed"
                )
            batches = []
            taken = 0
            for batch in file.iter_batches(batch_size=_PARQUET_BATCH):
                taken += batch.nbytes
                if taken > _BYTES:
                    raise InvalidDataset(f"{name} would unpack to more than {_BYTES} bytes, which are allowed at most")
                batches.append(batch)
            table = pa.Table.from_batches(batches, file.schema_arrow)
        return {
            column: _from_arrow(table[column].combine_chunks(), f"{name}: column {column[:80]!r}")
            for column in table.column_names
        }
    except (pa.ArrowException, OSError, ValueError, TypeError, KeyError) as error:
        raise InvalidDataset(f"{name} cannot be read as Parquet{_instead(path)}") from error


def _read_npy(archive: zipfile.ZipFile, member: zipfile.ZipInfo, name: str) -> NDArray[Any]:
    with archive.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        if version == (1, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(stream, max_header_size=_NPY_HEADER_BYTES)
        elif version == (2, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_2_0(stream, max_header_size=_NPY_HEADER_BYTES)
        else:
            raise ValueError("structured array")
        array_name = member.filename.removesuffix(".npy")[:80]
        if dtype.hasobject:
            raise InvalidDataset(
                f"{name}: array {array_name!r} holds Python objects, which are pickles and never opened; "
                "save plain numbers (array.astype('float32'), say)"
            )
        if len(shape) > _AXES:
            raise InvalidDataset(f"{name}: array {array_name!r} has {len(shape)} axes; at most {_AXES} are allowed")
        wanted = math.prod(shape) * dtype.itemsize
        present = member.file_size - stream.tell()
        if min(shape, default=0) < 0 or wanted != present:
            raise InvalidDataset(
                f"{name}: array {array_name!r} is damaged: shape {list(shape)} of {dtype} needs {wanted} bytes, "
                f"the file holds {present}"
            )
        data = stream.read()
    flat = np.frombuffer(data, dtype=dtype) if dtype.itemsize else np.empty(math.prod(shape), dtype)
    return flat.reshape(shape, order="F" if fortran else "C")


def _from_arrow(column: Any, where: str, depth: int = 0) -> NDArray[Any]:
    import pyarrow as pa
    import pyarrow.compute as pc

    if column.null_count:
        raise InvalidDataset(f"{where} has {column.null_count} missing values; none are allowed")
    kind = column.type
    if isinstance(kind, pa.DictionaryType):
        return _from_arrow(column.dictionary_decode(), where, depth)
    if isinstance(column, pa.FixedShapeTensorArray):
        tensor: NDArray[Any] = column.to_numpy_ndarray()
        return tensor
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        if depth >= _AXES:
            raise InvalidDataset(f"{where} is nested more than {_AXES} lists deep")
        lengths = pc.unique(pc.list_value_length(column)).to_pylist()
        if len(lengths) != 1:
            raise InvalidDataset(
                f"{where} has lists of different lengths ({min(lengths)} to {max(lengths)}); pad them to one length"
                if lengths
                else f"{where} has no rows"
            )
        inner = _from_arrow(column.flatten(), where, depth + 1)
        return inner.reshape(len(column), lengths[0], *inner.shape[1:])
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return np.array(column.to_pylist(), dtype=np.str_)
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
        raise InvalidDataset(f"{where} has type {kind}; allowed are numbers, booleans and lists of them")
    plain: NDArray[Any] = column.to_numpy(zero_copy_only=False)
    return plain


def _instead(path: Path) -> str:
    found = describe(path)
    return "" if found is None else f"; it is {found}"
