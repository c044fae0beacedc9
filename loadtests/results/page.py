"""Writes the page of results: a table a field, the targets, and the peers, all in Markdown."""

from collections.abc import Sequence
from dataclasses import dataclass

from loadtests.results.field_run import MARGIN, FieldResult
from loadtests.results.judged import Interval, Row
from optimizer.artifact.manifest import Hardware

_HEADER = (
    "| variant | verdict | {metric} | against the source | rows | rows for 1 point | times as fast | times smaller |"
)
_RULE = "|---|---|---|---|---|---|---|---|"


@dataclass(frozen=True)
class Target:
    """A promise, and what came of it."""

    said: str
    found: str
    met: bool


def page(
    results: Sequence[FieldResult],
    peers: dict[str, list[Row]],
    hardware: Hardware,
    minutes: float,
    extra: Sequence[Target],
) -> str:
    """The whole page."""
    lines = [
        "# Results",
        "",
        "Written by `make results`; no figure here is typed by hand.",
        "",
        f"Machine: {hardware.cpu}, {hardware.cores} cores ({', '.join(hardware.isa)}), onnxruntime "
        f"{hardware.onnxruntime}. The run took {minutes:.0f} minutes. Speed is that of batch 1 against the source's "
        "fp32 ONNX in alternating pairs, with its 95% interval; quality is on rows that nothing was trained on, with "
        f"paired intervals. Not inferior means the one-sided 95% bound at {100 * MARGIN:g} point (perplexity: at a "
        "hundredth of the source's). The rows that one point needs follow from each interval's width (power 80%).",
        "",
        "## Targets",
        "",
        "| target | found | met |",
        "|---|---|---|",
        *(f"| {one.said} | {one.found} | {'yes' if one.met else 'no'} |" for one in (*targets(results), *extra)),
    ]  # fmt: skip
    for result in results:
        lines += ["", f"## {result.field.name.capitalize()}", "", *_field(result)]
    lines += ["", "## Peers on the same sources", "", *_peers(results, peers)]
    return "\n".join(lines) + "\n"


def targets(results: Sequence[FieldResult]) -> list[Target]:
    """The promises that the tables can decide."""
    found = []
    wanted = {"vision": (8.0, 8.0), "text": (6.0, 8.0)}
    for result in results:
        if result.field.name in wanted:
            faster, smaller = wanted[result.field.name]
            good = [
                row for row in result.rows
                if row.difference is not None and row.speedup is not None and row.is_not_inferior(MARGIN)
            ]  # fmt: skip
            fit = [
                row for row in good if row.speedup is not None and row.speedup.low >= faster and row.smaller >= smaller
            ]
            best = max(fit or good, key=lambda row: row.speedup.value if row.speedup else 0.0, default=None)
            said = (
                f"{result.field.name}: {faster:g} times as fast, {smaller:g} times smaller, not inferior by one point"
            )
            shown = "nothing was not inferior" if best is None else (
                f"{best.name}: {_times(best.speedup)} as fast, {best.smaller:.1f} times smaller"
            )  # fmt: skip
            found.append(Target(said, shown, bool(fit)))
        if result.first_accepted_seconds is not None and result.parameters_millions >= 1:
            said = (
                f"{result.field.name} ({result.parameters_millions:.1f} M weights): first accepted variant within 15 s"
            )
            shown = (
                f"{result.first_accepted_seconds:.1f} s after the job's start "
                f"(source: {result.first_variant_seconds or 0:.1f} s)"
            )
            found.append(Target(said, shown, result.first_accepted_seconds <= 15))
    return found


def _field(result: FieldResult) -> list[str]:
    return [
        f"{result.field.network} ({result.parameters_millions:.2f} M weights); {result.field.data}. "
        f"Task {result.field.task}; {result.seconds / 60:.1f} minutes.",
        "",
        _HEADER.format(metric=result.metric),
        _RULE,
        *(_row(row) for row in result.rows),
    ]


def _row(row: Row) -> str:
    needed = row.rows_needed(MARGIN)
    cells = (
        row.name,
        row.verdict,
        _value(row.metric),
        _value(row.difference, signed=True),
        f"{row.n:,}" if row.n else "–",
        "–" if needed is None else f"{needed:,}",
        _times(row.speedup),
        f"{row.smaller:.1f}",
    )
    return f"| {' | '.join(cells)} |"


def _peers(results: Sequence[FieldResult], peers: dict[str, list[Row]]) -> list[str]:
    lines = [
        "The same fp32 source, training rows for calibration, evaluation rows and timing for all. For Stillroom: the "
        "accepted variant that was quantised and not pruned, and the fastest accepted one.",
        "",
        "| field | made by | quality | against the source | times as fast | times smaller |",
        "|---|---|---|---|---|---|",
    ]
    for result in results:
        ours = [row for row in result.rows if row.verdict == "accept" and row.speedup is not None]
        ours.sort(key=lambda row: row.speedup.value if row.speedup else 0.0)
        plain = [
            row for row in ours if "int8" in row.name and not any(word in row.name for word in ("slim", "tiny", "half"))
        ]
        chosen = {row.name: row for row in (*plain[-1:], *ours[-1:])}
        for row in (*chosen.values(), *peers.get(result.field.name, [])):
            name = f"Stillroom {row.name}" if row.maker == "stillroom" else row.name
            if row.metric is None:
                lines.append(f"| {result.field.name} | {name} | {row.verdict} | – | – | – |")
            else:
                lines.append(
                    f"| {result.field.name} | {name} | {_value(row.metric)} | {_value(row.difference, signed=True)} | "
                    f"{_times(row.speedup)} | {row.smaller:.1f} |"
                )
    return lines


def _value(interval: Interval | None, *, signed: bool = False) -> str:
    if interval is None:
        return "–"
    sign = "+" if signed else ""
    return f"{interval.value:{sign}.4f} ({interval.low:{sign}.4f} to {interval.high:{sign}.4f})"


def _times(interval: Interval | None) -> str:
    return "–" if interval is None else f"{interval.value:.2f} ({interval.low:.2f} to {interval.high:.2f})"
