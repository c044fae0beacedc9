"""Whether arrays are what a checkpoint's inputs take: names, shapes, types and ranges of values."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from optimizer.artifact.inspected import InputFacts, Inspection
from optimizer.artifact.rows import RESERVED, Rows
from optimizer.artifact.signature import numpy_dtype
from optimizer.errors import InvalidDataset

# Elements looked at together; bounds the memory that a check takes.
_CHUNK = 2**22


def check_arrays(rows: Rows, inspection: Inspection, where: str) -> None:
    """Raises InvalidDataset when an array is missing, unknown, or not what its input takes.

    `where` begins the messages ("the eval data").
    """
    _check_names(rows, inspection, where)
    sizes: dict[str, tuple[int, str]] = {}
    for name, array in rows.arrays.items():
        facts = inspection.inputs[name]
        this = f"{where}: array {name!r}"
        if facts.shape is not None:
            axes = _matching_axes(array, facts, this)
            _check_named_axes(axes, name, array, inspection, sizes, this)
        _check_values(array, facts, this)


def _check_names(rows: Rows, inspection: Inspection, where: str) -> None:
    allowed = ", ".join(f"{name}{'' if facts.required else ' (optional)'}" for name, facts in inspection.inputs.items())
    unknown = sorted(set(rows.arrays) - set(inspection.inputs))
    if unknown:
        raise InvalidDataset(
            f"{where} has arrays that the model does not take: {', '.join(name[:80] for name in unknown[:10])}; "
            f"allowed are {allowed}, and {' and '.join(RESERVED)}"
        )
    missing = [name for name, facts in inspection.inputs.items() if facts.required and name not in rows.arrays]
    if missing:
        raise InvalidDataset(f"{where} lacks the arrays {', '.join(missing)}; the model takes {allowed}")


def _matching_axes(array: NDArray[Any], facts: InputFacts, this: str) -> tuple[int | str, ...]:
    """The axes of the input that the array's axes after the first stand for."""
    shape = facts.shape or ()
    row = array.shape[1:]
    # Without a batch axis a row is the whole tensor, or the whole tensor without a leading axis of size 1.
    candidates = [shape[1:]] if facts.batched else [shape, shape[1:]] if shape[:1] == (1,) else [shape]
    for axes in candidates:
        if len(axes) == len(row) and all(
            size > 0 and (isinstance(axis, str) or axis == size) for size, axis in zip(row, axes, strict=True)
        ):
            return axes
    wanted = " or ".join(f"[{', '.join(str(axis) for axis in axes)}]" for axes in reversed(candidates))
    raise InvalidDataset(
        f"{this} has rows of shape {list(row)}, but the model takes {wanted} a row{_hint(row, shape, facts)}"
    )


def _hint(row: tuple[int, ...], shape: tuple[int | str, ...], facts: InputFacts) -> str:
    if facts.batched and len(row) == len(shape) - 1 == 3 and row[-1] == shape[1] != row[0]:
        return " (the channels come first: array.transpose(0, 3, 1, 2))"
    if not facts.batched and len(row) == len(shape) - 1 and isinstance(shape[0], int) and shape[0] > 1:
        return f" (its first axis is fixed at {shape[0]}; export it with a dynamic first axis to make that the batch)"
    return ""


def _check_named_axes(
    axes: tuple[int | str, ...],
    name: str,
    array: NDArray[Any],
    inspection: Inspection,
    sizes: dict[str, tuple[int, str]],
    this: str,
) -> None:
    for axis, size in zip(axes, array.shape[1:], strict=True):
        if not isinstance(axis, str):
            continue
        limit = inspection.limits.get(axis)
        if limit is not None and size > limit:
            raise InvalidDataset(f"{this} has {size} along {axis!r}; the model takes at most {limit}")
        first, other = sizes.setdefault(axis, (size, name))
        if first != size:
            raise InvalidDataset(
                f"{this} has {size} along {axis!r}, but array {other!r} has {first}; they must be equal"
            )


def _check_values(array: NDArray[Any], facts: InputFacts, this: str) -> None:
    wanted = numpy_dtype(facts.datatype)
    if array.dtype.kind not in "biu" and wanted.kind in "biu":
        raise InvalidDataset(f"{this} holds {array.dtype}, but the model takes whole numbers ({facts.datatype})")
    low, high = _range(facts, wanted)
    flat = array.reshape(-1)
    for start in range(0, flat.size, _CHUNK):
        chunk = flat[start : start + _CHUNK]
        if wanted.kind in "biu":
            least, most = int(chunk.min()), int(chunk.max())
            if low is not None and least < low:
                raise InvalidDataset(f"{this} holds {least}; allowed are {low} to {high}")
            if high is not None and most > high:
                raise InvalidDataset(f"{this} holds {most}; allowed are {low} to {high}")
        else:
            with np.errstate(over="ignore"):
                finite = np.isfinite(chunk.astype(wanted, copy=False).astype(np.float64))
            if not finite.all():
                element = start + int(np.flatnonzero(~finite)[0])
                row = element // max(1, flat.size // len(array))
                raise InvalidDataset(
                    f"{this} holds values that are NaN, infinite or too large for {facts.datatype}, first in row {row}"
                )


def _range(facts: InputFacts, wanted: np.dtype) -> tuple[int | None, int | None]:
    if wanted.kind == "b":
        return 0, 1
    if wanted.kind not in "iu":
        return None, None
    bounds = np.iinfo(wanted)
    return (
        int(bounds.min) if facts.minimum is None else facts.minimum,
        int(bounds.max) if facts.maximum is None else facts.maximum,
    )
