"""Quality against latency as an inline SVG, for the report of variants and for load tests.

Colours are CSS variables (--plot-ink, --plot-accepted, ...) with a fallback each, so the page decides between light and
dark. Needs matplotlib, which comes with the extra `report`. Text stays text: it can be searched and selected.
"""

import io
import itertools
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator

from service.report.labels import Box, place
from service.report.scale import Range, in_view, logarithmic, padded

# "reference": a figure from elsewhere, shown for comparison (what the manifest promised, beside what was seen live).
Kind = Literal["source", "accepted", "rejected", "undecided", "reference"]

# Each value stands for a CSS variable --plot-<name> and is its fallback; no two may be equal.
_COLOURS = {
    "ink": "#1f2937",
    "muted": "#6b7281",
    "grid": "#e4e7eb",
    "paper": "#fffffe",
    "source": "#111827",
    "accepted": "#0f766e",
    "rejected": "#b91c1c",
    "undecided": "#b45309",
    "reference": "#9ca3b0",
}
_MARKERS: dict[Kind, str] = {"source": "s", "accepted": "o", "rejected": "X", "undecided": "D", "reference": "o"}
_SIZES: dict[Kind, float] = {"source": 9, "accepted": 9, "rejected": 9, "undecided": 8, "reference": 7}

_WIDTH_PX, _HEIGHT_PX = 860, 480
_FONT_PX = 12.5
# Mean width of a letter in the usual interface fonts, in units of the font's size.
_LETTER = 0.58


@dataclass(frozen=True)
class Point:
    """A variant in the plot; the quality has a 95% interval, the latency may have one."""

    name: str
    latency_ms: float
    quality: float
    low: float
    high: float
    kind: Kind
    latency_low_ms: float | None = None
    latency_high_ms: float | None = None


def quality_against_latency(
    points: Sequence[Point],
    *,
    x_label: str,
    y_label: str,
    front: Collection[str] = (),
    description: str = "Quality against latency",
) -> str:
    """An <svg> element with all points (at least one), their intervals, their names, and a line along the front.

    A rejected point so far below the others that they could not be told apart any more stands at the lower edge, with
    an arrow and its value. `front` names the points that the line joins. The result depends on the arguments alone.
    """
    settings: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": description,
        "font.family": "DejaVu Sans",
        "font.size": _FONT_PX,
        "axes.unicode_minus": True,
    }
    with mpl.rc_context(settings):
        figure = Figure(figsize=(_WIDTH_PX / 72, _HEIGHT_PX / 72), dpi=72, layout=None)
        axes = figure.add_axes((0.085, 0.135, 0.895, 0.83))
        x_range, y_range = _dress(axes, points, x_label, y_label)
        _draw_front(axes, _ordered(points, front))
        for point in points:
            _draw(axes, point, y_range)
        _draw_names(axes, points, front, x_range, y_range)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _inline(buffer.getvalue(), description)


def _dress(axes: Axes, points: Sequence[Point], x_label: str, y_label: str) -> tuple[Range, Range]:
    """Sets axes, grid and labels; the ranges shown."""
    times = [
        value
        for point in points
        for value in (point.latency_ms, point.latency_low_ms, point.latency_high_ms)
        if value is not None
    ]
    log = logarithmic(times)
    x_range = padded(min(times), max(times), log)
    y_range = in_view(
        [(point.low, point.high) for point in points if point.kind != "rejected"],
        [(point.low, point.high) for point in points if point.kind == "rejected"],
    )
    axes.set_xscale("log" if log else "linear")
    axes.set_xlim(x_range.low, x_range.high)
    axes.set_ylim(y_range.low, y_range.high)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)) if log else MaxNLocator(8))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_locator(mpl.ticker.NullLocator())
    axes.yaxis.set_major_locator(MaxNLocator(7))
    axes.set_axisbelow(True)
    axes.grid(color=_COLOURS["grid"], linewidth=1)
    axes.tick_params(colors=_COLOURS["muted"], length=0, pad=7)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(_COLOURS["muted"])
    axes.set_xlabel(x_label, color=_COLOURS["ink"], labelpad=8)
    axes.set_ylabel(y_label, color=_COLOURS["ink"], labelpad=8)
    return x_range, y_range


def _ordered(points: Sequence[Point], front: Collection[str]) -> list[Point]:
    """The points of the front, fastest first."""
    return sorted(
        (point for point in points if point.name in front), key=lambda point: (point.latency_ms, point.quality)
    )


def _steps(corners: Sequence[tuple[float, float]]) -> list[Box]:
    """The line along the front as thin boxes."""
    boxes = []
    for (x, y), (next_x, next_y) in itertools.pairwise(corners):
        boxes.append(Box(x, y - 2, next_x, y + 2))
        boxes.append(Box(next_x - 2, min(y, next_y), next_x + 2, max(y, next_y)))
    return boxes


def _draw_front(axes: Axes, ordered: Sequence[Point]) -> None:
    """Steps along the front: right of and below the line there is something that is both faster and as good."""
    axes.step(
        [point.latency_ms for point in ordered],
        [point.quality for point in ordered],
        where="post",
        color=_COLOURS["accepted"],
        linewidth=1.6,
        linestyle=(0, (5, 3)),
        alpha=0.75,
        zorder=2,
    )


def _draw(axes: Axes, point: Point, y_range: Range) -> None:
    colour = _COLOURS[point.kind]
    if _off_scale(point, y_range):
        axes.plot(point.latency_ms, _edge(y_range), marker="v", markersize=9, color=colour, zorder=4)
        return
    times = None
    if point.latency_low_ms is not None and point.latency_high_ms is not None:
        times = [[point.latency_ms - point.latency_low_ms], [point.latency_high_ms - point.latency_ms]]
    hollow = point.kind in ("undecided", "reference")
    axes.errorbar(
        point.latency_ms,
        point.quality,
        yerr=[[point.quality - point.low], [point.high - point.quality]],
        xerr=times,
        fmt=_MARKERS[point.kind],
        markersize=_SIZES[point.kind],
        color=colour,
        markerfacecolor=_COLOURS["paper"] if hollow else colour,
        markeredgewidth=1.8 if hollow else 1.2,
        elinewidth=1.6,
        capsize=4,
        capthick=1.6,
        zorder=3 if point.kind == "reference" else 4,
    )


def _off_scale(point: Point, y_range: Range) -> bool:
    return point.quality < y_range.low


def _edge(y_range: Range) -> float:
    """Where points below the view are marked."""
    return y_range.low + 0.03 * (y_range.high - y_range.low)


def _draw_names(axes: Axes, points: Sequence[Point], front: Collection[str], x_range: Range, y_range: Range) -> None:
    def pixels(x: float, y: float) -> tuple[float, float]:
        found: Any = axes.transData.transform((x, y))
        return float(found[0]), float(found[1])

    named = [point for point in points if point.kind != "reference"]
    names = [f"{p.name} ({p.quality:.3g}, off the scale)" if _off_scale(p, y_range) else p.name for p in named]
    anchors = [pixels(p.latency_ms, _edge(y_range) if _off_scale(p, y_range) else p.quality) for p in named]
    obstacles = [Box(x - 6, y - 6, x + 6, y + 6) for x, y in anchors]
    for point in points:
        x, low = pixels(point.latency_ms, max(point.low, y_range.low))
        _, high = pixels(point.latency_ms, max(point.high, y_range.low))
        obstacles.append(Box(x - 3, low, x + 3, high))
        if point.latency_low_ms is not None and point.latency_high_ms is not None:
            left, y = pixels(point.latency_low_ms, point.quality)
            right, _ = pixels(point.latency_high_ms, point.quality)
            obstacles.append(Box(left, y - 3, right, y + 3))
    obstacles.extend(_steps([pixels(point.latency_ms, point.quality) for point in _ordered(points, front)]))
    left, bottom = pixels(x_range.low, y_range.low)
    right, top = pixels(x_range.high, y_range.high)
    sizes = [(_LETTER * _FONT_PX * len(name), 1.25 * _FONT_PX) for name in names]
    boxes = place(anchors, sizes, obstacles, Box(left, bottom, right, top))
    for point, name, (anchor_x, _), box in zip(named, names, anchors, boxes, strict=True):
        # Aligned on the side that faces the point, so that an estimate of the width that is off does no harm.
        side = "left" if box.left > anchor_x else "right" if box.right < anchor_x else "center"
        x = {"left": box.left, "right": box.right, "center": (box.left + box.right) / 2}[side]
        axes.annotate(
            name,
            (x, (box.bottom + box.top) / 2),
            xycoords="figure pixels",
            ha=side,
            va="center",
            color=_COLOURS[point.kind],
            fontsize=_FONT_PX,
            fontweight="bold" if point.kind in ("source", "accepted") else "normal",
            zorder=5,
        )


def _inline(document: str, description: str) -> str:
    """The <svg> element alone, scalable, with the colours as CSS variables and the page's own font."""
    element = document[document.index("<svg") :]
    for name, colour in _COLOURS.items():
        element = element.replace(colour, f"var(--plot-{name}, {colour})")
    element = re.sub(r"'DejaVu Sans'(?:, [^;\"]+)?", "system-ui, sans-serif", element)
    element = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", element, count=1)
    element = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", element, count=1)
    label = description.replace("&", "&amp;").replace("<", "&lt;").replace('"', "&quot;")
    return element.replace("<svg", f'<svg role="img" aria-label="{label}"', 1)
