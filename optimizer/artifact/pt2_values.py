"""The plain values that operations of a .pt2 archive take, read from the archive's tagged JSON."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from optimizer.errors import InvalidCheckpoint

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,400}")
_TEXT = re.compile(r"[A-Za-z0-9_ .,>\-()]{0,200}")
_FLOATS = {"Infinity": float("inf"), "-Infinity": float("-inf"), "NaN": float("nan")}
_ENTRIES = 1_000_000


@dataclass(frozen=True)
class Reference:
    """A value that another operation has made, or that the program is given."""

    name: str


@dataclass(frozen=True)
class Code:
    """One of torch's numbered constants, or a device, which is always the CPU here."""

    kind: Literal["dtype", "layout", "memory_format", "device"]
    number: int


Value = None | bool | int | float | str | Reference | Code | list["Value"]


def name_of(value: Any) -> str:
    """`value`, if it is a plain identifier. Raises ValueError."""
    if isinstance(value, str) and _IDENTIFIER.fullmatch(value):
        return value
    raise ValueError(f"name {str(value)[:40]!r}")


def value_of(tagged: Mapping[str, Any], name: str) -> Value:
    """The value of {"as_ints": [1, 2]} and its like. Raises ValueError, InvalidCheckpoint for kinds not accepted."""
    ((tag, value),) = tagged.items()
    one = _ONE.get(tag)
    if one is not None:
        found: Value = one(value)
        return found
    each = _EACH.get(tag)
    if each is not None:
        if len(value) > _ENTRIES:
            raise ValueError("number of entries")
        return [each(item) for item in value]
    raise InvalidCheckpoint(f"{name} passes a value of the kind {tag[:40]!r} to an operation, which is not accepted")


def _none(_: Any) -> Value:
    return None


def _bool(value: Any) -> Value:
    if not isinstance(value, bool):
        raise ValueError(f"truth value {str(value)[:40]!r}")
    return value


def _int(value: Any) -> Value:
    if isinstance(value, bool) or not isinstance(value, int) or not -(2**63) <= value < 2**63:
        raise ValueError(f"whole number {str(value)[:40]!r}")
    return value


def _float(value: Any) -> Value:
    if isinstance(value, str) and value in _FLOATS:
        return _FLOATS[value]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"number {str(value)[:40]!r}")
    return float(value)


def _text(value: Any) -> Value:
    if not isinstance(value, str) or _TEXT.fullmatch(value) is None:
        raise ValueError(f"text {str(value)[:40]!r}")
    return value


def _tensor(value: Any) -> Value:
    return Reference(name_of(value["name"]))


def _symbolic(value: Any) -> Value:
    ((tag, inner),) = value.items()
    if tag == "as_name":
        return Reference(name_of(inner))
    return {"as_int": _int, "as_float": _float, "as_bool": _bool}[tag](inner)


def _optional_tensor(value: Any) -> Value:
    return _tensor(value["as_tensor"]) if "as_tensor" in value else None


def _device(value: Any) -> Value:
    return Code("device", 0)


def _code(kind: Literal["dtype", "layout", "memory_format"]) -> Any:
    def read(value: Any) -> Value:
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(f"{kind} {str(value)[:40]!r}")
        return Code(kind, value)

    return read


_ONE = {
    "as_none": _none, "as_bool": _bool, "as_int": _int, "as_float": _float, "as_string": _text, "as_tensor": _tensor,
    "as_sym_int": _symbolic, "as_sym_bool": _symbolic, "as_sym_float": _symbolic,
    "as_optional_tensor": _optional_tensor,
    "as_scalar_type": _code("dtype"), "as_layout": _code("layout"), "as_memory_format": _code("memory_format"),
    "as_device": _device,
}  # fmt: skip
_EACH = {
    "as_bools": _bool, "as_ints": _int, "as_floats": _float, "as_tensors": _tensor, "as_sym_ints": _symbolic,
    "as_sym_bools": _symbolic, "as_sym_floats": _symbolic, "as_optional_tensors": _optional_tensor,
}  # fmt: skip
