"""The reference of all passes as Markdown, from the configs themselves: `python -m optimizer.recipe.reference`.

`make docs` writes it into docs/passes.md, and a test holds the page to it.
"""

import typing
from collections.abc import Iterator
from typing import Any

from pydantic.fields import FieldInfo

from optimizer.recipe.base import PassConfig, Stage
from optimizer.recipe.recipe import AnyPass

_STAGES = {Stage.TORCH: "network", Stage.ONNX: "graph"}
_BOUNDS = {"gt": "above", "ge": "from", "lt": "below", "le": "to"}


def passes() -> list[type[PassConfig]]:
    """The configs of all passes, by name."""
    union, *_ = typing.get_args(AnyPass)
    return sorted(typing.get_args(union), key=name_of)


def name_of(config: type[PassConfig]) -> str:
    """The word that `use` says."""
    return str(config.model_fields["use"].default)


def page() -> str:
    """The whole page."""
    lines = [
        "# Passes",
        "",
        "Written by `make docs` from the configs in `optimizer/recipe`; how recipes are written stands in",
        "[recipes.md](recipes.md). A pass takes a network (before `export`) or a graph (after it). *Tried in a search*",
        "are the values that a search takes where it is given none.",
    ]
    for config in passes():
        lines += ["", f"## {name_of(config)}", "", *_section(config)]
    return "\n".join(lines) + "\n"


def _section(config: type[PassConfig]) -> Iterator[str]:
    yield _paragraphs(config.__doc__ or "")
    yield ""
    after = f"; not after {', '.join(f'`{name}`' for name in sorted(config.not_after))}" if config.not_after else ""
    yield f"Takes a {_STAGES[config.accepts]}, leaves a {_STAGES[config.produces]}{after}."
    fields = {name: field for name, field in config.model_fields.items() if name != "use"}
    if fields:
        yield ""
        yield "| value | type | default | tried in a search |"
        yield "|---|---|---|---|"
        for name, field in fields.items():
            tried = ", ".join(_shown(value) for value in config.domain.get(name, ()))
            yield f"| `{name}` | {_type(field)} | {_default(field)} | {tried} |"


def _paragraphs(docstring: str) -> str:
    return "\n".join(line.strip() for line in docstring.strip().splitlines())


def _type(field: FieldInfo) -> str:
    bounds = " ".join(
        f"{word} {getattr(constraint, key):g}"
        for constraint in field.metadata
        for key, word in _BOUNDS.items()
        if getattr(constraint, key, None) is not None
    )
    return f"{_named(field.annotation)}{f' {bounds}' if bounds else ''}"


def _named(annotation: Any) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Literal:
        return ", ".join(_shown(value) for value in arguments)
    if arguments and (origin is typing.Union or type(annotation).__name__ == "UnionType"):
        return " or ".join(_named(part) for part in arguments if part is not type(None))
    if arguments:
        return f"{getattr(origin, '__name__', str(origin))} of {' and '.join(_named(part) for part in arguments[:2])}"
    words = {float: "number", int: "whole number", bool: "yes or no", str: "text", Any: "anything", Ellipsis: "more"}
    return words.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "must be given"
    value = field.get_default(call_default_factory=True)
    return "chosen" if value is None else _shown(value)


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "`true`" if value else "`false`"
    return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


if __name__ == "__main__":
    print(page(), end="")
