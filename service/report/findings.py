"""Figures that passes left in a manifest, as bars and tables for a page. Pure.

A table is {"kind", "title", "columns", "rows"}. A sensitivity table is drawn: its first column names a node or layer,
and its first column of numbers says how much the answers suffer from it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_MOST_BARS = 30
_MOST_ROWS = 60


@dataclass(frozen=True)
class Bar:
    """One node: its value, and how long its bar is as a share of the longest."""

    name: str
    value: str
    share: float
    # What the other columns say, "Conv, kept in float yes".
    rest: str


@dataclass(frozen=True)
class Finding:
    """One table: as bars where it is a sensitivity, else as rows of text."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    bars: tuple[Bar, ...]
    # What the bars' length means.
    measure: str
    # Rows that are not shown.
    left_out: int


def findings(manifest: Mapping[str, Any]) -> tuple[Finding, ...]:
    """All tables of a manifest, in the order of the steps that left them."""
    steps = (manifest.get("lineage") or {}).get("steps") or ()
    return tuple(_finding(table) for step in steps for table in step.get("tables") or ())


def _finding(table: Mapping[str, Any]) -> Finding:
    columns = tuple(str(column) for column in table.get("columns") or ())
    rows = [tuple(row) for row in table.get("rows") or ()]
    measured = _measure(rows) if table.get("kind") == "sensitivity" else None
    bars: tuple[Bar, ...] = ()
    if measured is not None:
        ranked = sorted(rows, key=lambda row: -abs(_number(row[measured])))
        longest = max((abs(_number(row[measured])) for row in ranked), default=0.0) or 1.0
        bars = tuple(_bar(row, columns, measured, longest) for row in ranked[:_MOST_BARS])
    shown = rows[:_MOST_ROWS]
    return Finding(
        title=str(table.get("title", "")),
        columns=columns,
        rows=() if bars else tuple(tuple(_text(value) for value in row) for row in shown),
        bars=bars,
        measure="" if measured is None else columns[measured],
        left_out=len(rows) - (len(bars) or len(shown)),
    )


def _measure(rows: Sequence[tuple[Any, ...]]) -> int | None:
    """Which column the bars show: the first that holds a fraction, else the first that holds numbers."""
    if not rows:
        return None
    width = min(len(row) for row in rows)
    numeric = [column for column in range(width) if any(_is_number(row[column]) for row in rows)]
    fractions = [column for column in numeric if any(isinstance(row[column], float) for row in rows)]
    return next(iter(fractions or numeric), None)


def _bar(row: tuple[Any, ...], columns: tuple[str, ...], measured: int, longest: float) -> Bar:
    rest = [
        f"{columns[column]} {_text(value)}"
        for column, value in enumerate(row)
        if column not in (0, measured) and column < len(columns) and value is not None
    ]
    value = row[measured]
    return Bar(_text(row[0]), _text(value), abs(_number(value)) / longest, ", ".join(rest))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(value: Any) -> float:
    return float(value) if _is_number(value) else 0.0


def _text(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
