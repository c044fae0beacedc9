"""What a load test leaves behind: a table for the terminal, loadtest.json, and loadtest.html with its plot."""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from loadtests.run import Judged
from loadtests.slo import Check, Result, Seen, Verdict
from optimizer.metrics.intervals import Interval, wilson
from service.report.page import check_installed

if TYPE_CHECKING:
    from service.report.plot import Kind

JSON_FILE = "loadtest.json"
HTML_FILE = "loadtest.html"
SCHEMA_VERSION = 1

_HEADLINES = {
    Verdict.PASS: "every demand is met",
    Verdict.FAIL: "a demand is not met",
    Verdict.INVALID: "something that was demanded could not be judged",
}
_KINDS: "dict[bool, Kind]" = {True: "accepted", False: "rejected"}


def write(judged: Judged, directory: Path, at: datetime | None = None) -> tuple[Path, Path]:
    """Writes both files; returns their paths. Raises FailedPrecondition when the extra `report` is not installed."""
    check_installed()
    directory.mkdir(parents=True, exist_ok=True)
    at = at or datetime.now(UTC)
    json_path, html_path = directory / JSON_FILE, directory / HTML_FILE
    json_path.write_text(json.dumps(to_json(judged, at), indent=2) + "\n", encoding="utf-8")
    html_path.write_text(to_html(judged, at), encoding="utf-8")
    return json_path, html_path


def to_json(judged: Judged, at: datetime) -> dict[str, Any]:
    """The result as plain values; docs/loadtest.md says what each field holds."""
    outcome = judged.outcome
    return {
        "schema_version": SCHEMA_VERSION,
        "at": at.isoformat(),
        "model": judged.request.model,
        "server": judged.request.server,
        "generation": judged.claims.generation,
        "verdict": judged.verdict.value,
        "seconds": outcome.seconds,
        "arrivals": judged.request.arrivals,
        "rate_per_second": outcome.rate_per_second,
        "capacity_per_second": outcome.capacity_per_second,
        "calls": judged.run.calls,
        "errors": dict(outcome.tally.errors),
        "error_examples": outcome.tally.error_examples,
        "generator": {
            "dispatch_lag_p99_ms": outcome.pressure.dispatch_lag_p99_ms,
            "wake_lag_p99_ms": outcome.pressure.wake_lag_p99_ms,
            "cpu_share": outcome.pressure.cpu_share,
            "eight_overlapping_calls_seconds": outcome.selfcheck_seconds,
        },
        "variants": [_variant(judged, seen) for seen in judged.run.variants],
        "checks": [
            {
                "subject": check.subject,
                "name": check.name,
                "result": check.result.value,
                "seen": check.seen,
                "demanded": check.demanded,
            }
            for check in judged.checks
        ],
        "locust": outcome.locust,
    }


def to_text(judged: Judged) -> str:
    """Verdict, figures and checks for a terminal."""
    lines = [f"{judged.verdict}: {_HEADLINES[judged.verdict]}", ""]
    rows: list[tuple[str, ...]] = [("variant", "weight", "answers", "accuracy", "claimed", "p50", "p95", "p99")]
    for seen in judged.run.variants:
        live = _live(seen)
        accuracy = "-" if live is None else f"{live.value:.4f} [{live.low:.4f}, {live.high:.4f}]"
        times = [f"{seen.latency_ms[name]:.1f} ms" if seen.latency_ms else "-" for name in ("p50", "p95", "p99")]
        claimed = f"{seen.claimed.value:.4f}"
        rows.append((seen.variant, f"{seen.weight:.0%}", f"{seen.answers}", accuracy, claimed, *times))
    lines += _aligned(rows)
    lines.append("")
    shown: list[tuple[str, ...]] = [("check", "result", "seen", "demanded")]
    shown += [
        (f"{check.subject}: {check.name}", check.result.value, check.seen, check.demanded) for check in judged.checks
    ]
    return "\n".join([*lines, *_aligned(shown)])


def to_html(judged: Judged, at: datetime) -> str:
    """One page, complete in itself."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("loadtests", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("report.html.j2").render(
        style=resources.files("service.report").joinpath("page.css").read_text(encoding="utf-8"),
        judged=judged,
        at=at,
        headline=_HEADLINES[judged.verdict],
        variants=[(seen, _live(seen)) for seen in judged.run.variants],
        classes={
            Result.PASS: "accepted",
            Result.FAIL: "rejected",
            Result.INVALID: "undecided",
            Result.SKIPPED: "undecided",
        },
        verdict_class={Verdict.PASS: "accepted", Verdict.FAIL: "rejected", Verdict.INVALID: "undecided"},
        plot=_plot(judged),
        seconds=timeline(judged),
    )


def timeline(judged: Judged) -> list[tuple[int, dict[str, tuple[int, float, float]]]]:
    """By second: each variant's answers, median and 99th percentile in milliseconds."""
    found: dict[int, dict[str, tuple[int, float, float]]] = {}
    for name, seen in judged.outcome.tally.variants.items():
        for second, latency in seen.seconds.items():
            found.setdefault(second, {})[name] = (latency.count, latency.quantile(0.5), latency.quantile(0.99))
    return sorted(found.items())


def _variant(judged: Judged, seen: Seen) -> dict[str, Any]:
    live = _live(seen)
    claimed_p50_ms = next(claim.measured_p50_ms for claim in judged.claims.claims if claim.variant == seen.variant)
    return {
        "name": seen.variant,
        "weight": seen.weight,
        "answers": seen.answers,
        "rows": seen.rows,
        "accuracy": None if live is None else {"value": live.value, "low": live.low, "high": live.high, "n": seen.rows},
        "claimed": {
            "name": seen.claimed.name,
            "value": seen.claimed.value,
            "low": seen.claimed.low,
            "high": seen.claimed.high,
            "n": seen.claimed.n,
        },
        "same_answers": seen.same_answers,
        "latency_ms": dict(seen.latency_ms),
        "compiled_latency_ms": None if seen.compiled_ms is None else dict(seen.compiled_ms),
        "measured_p50_ms": claimed_p50_ms,
        "ok": _fine(judged.checks, seen.variant),
    }


def _live(seen: Seen) -> Interval | None:
    """Accuracy of the answers with its 95% interval over different rows; None without answers."""
    if not seen.rows:
        return None
    found = wilson(round(seen.right), seen.rows)
    return Interval(seen.right / seen.rows, found.low, found.high)


def _fine(checks: Sequence[Check], subject: str) -> bool:
    return all(check.result is not Result.FAIL for check in checks if check.subject == subject)


def _plot(judged: Judged) -> str:
    from service.report.plot import Point, quality_against_latency

    points: list[Point] = []
    for seen in judged.run.variants:
        live = _live(seen)
        if live is None or not seen.latency_ms:
            continue
        points.append(
            Point(
                name=seen.variant,
                latency_ms=seen.latency_ms["p50"],
                quality=live.value,
                low=live.low,
                high=live.high,
                kind=_KINDS[_fine(judged.checks, seen.variant)],
                latency_low_ms=seen.latency_ms["p50"],
                latency_high_ms=seen.latency_ms["p95"],
            )
        )
    if not points:
        return ""
    name = judged.run.variants[0].claimed.name
    return quality_against_latency(
        points,
        x_label="latency of one request under load, in milliseconds: median, and a bar to the 95th percentile",
        y_label=f"{name} of live answers, with its 95% interval",
        description=f"{judged.request.model}: {name} against latency under load",
    )


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths: Mapping[int, int] = {column: max(len(row[column]) for row in rows) for column in range(len(rows[0]))}
    return ["  ".join(cell.ljust(widths[column]) for column, cell in enumerate(row)).rstrip() for row in rows]
