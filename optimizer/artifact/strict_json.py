"""JSON from strangers: bounded in size and depth, without repeated keys, NaN or surprises."""

import json
from typing import Any

_DEPTH = 64


class NotStrictJson(ValueError):
    """The text is not JSON, or not JSON that we accept; the message says which, for the owner of the file."""


def parse(data: bytes, *, limit_bytes: int, depth: int = _DEPTH) -> Any:
    """The value of a JSON text in UTF-8. Raises NotStrictJson."""
    if len(data) > limit_bytes:
        raise NotStrictJson(f"is {len(data)} bytes long; at most {limit_bytes} are allowed")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise NotStrictJson("is not UTF-8 text") from None
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
    except NotStrictJson:
        raise
    # ValueError covers JSONDecodeError and integers of thousands of digits; the C parser bounds its own recursion.
    except (ValueError, RecursionError) as error:
        where = f" (line {error.lineno}: {error.msg})" if isinstance(error, json.JSONDecodeError) else ""
        raise NotStrictJson(f"is not valid JSON{where}") from None
    if _depth(value) > depth:
        raise NotStrictJson(f"is nested more than {depth} levels deep")
    return value


def _depth(value: Any) -> int:
    deepest = 0
    waiting = [(value, 0)]
    while waiting:
        item, level = waiting.pop()
        deepest = max(deepest, level)
        children = item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()
        waiting.extend((child, level + 1) for child in children)
    return deepest


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for key, value in pairs:
        if key in result:
            raise NotStrictJson(f"repeats the key {key[:80]!r}")
        result[key] = value
    return result


def _refuse_constant(text: str) -> Any:
    raise NotStrictJson(f"holds {text}, which is not JSON")
