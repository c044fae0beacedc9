"""The tables that people read on a terminal."""

import sys
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from service.client.resources import Job, Traffic, TrialState, Variant, Verdict
from service.commands import words
from service.report.front import on_front

# Where the output is no terminal nothing needs to be folded.
_FILE_WIDTH = 200

_VERDICTS = {
    Verdict.SOURCE: ("source", "bold"),
    Verdict.ACCEPT: ("accepted", "green"),
    Verdict.REJECT: ("rejected", "red"),
    Verdict.INCONCLUSIVE: ("inconclusive", "yellow"),
    Verdict.NOT_MEASURED: ("not measured", "dim"),
    Verdict.UNSPECIFIED: ("unknown", "dim"),
}


def console() -> Console:
    """Standard output as it is now, so that a redirected one is respected."""
    return Console(file=sys.stdout, width=None if sys.stdout.isatty() else _FILE_WIDTH, highlight=False)


def show_variants(model: str, variants: Sequence[Variant]) -> None:
    """Prints the Pareto table of a model and, below it, why variants were not accepted."""
    out = console()
    if not variants:
        out.print(f"{model} has no variants yet; make some with: stillroom optimize {model} --wait")
        return
    out.print(_variants_table(variants))
    out.print(_legend(variants), style="dim")
    for variant in variants:
        if variant.against is not None:
            change = words.interval(variant.against.difference, signed=True)
            out.print(Text(f"{variant.name} vs {variant.against.variant}: {change}"))
    refused = [variant for variant in variants if not variant.accepted and variant.reason]
    if refused:
        out.print()
    for variant in refused:
        word, style = _VERDICTS[variant.verdict]
        out.print(Text.assemble((variant.name, "bold"), " ", (word, style), f": {variant.reason}"))


def _variants_table(variants: Sequence[Variant]) -> Table:
    table = new_table("", "variant", "verdict")
    metric = next((variant.metric.name for variant in variants if variant.metric is not None), "quality")
    for title in (metric, "vs source", "p50", "p99", "speed-up", "size", "traffic"):
        table.add_column(title, justify="right", no_wrap=title not in (metric, "vs source"))
    front = on_front(variants)
    for variant in variants:
        word, style = _VERDICTS[variant.verdict]
        one = variant.latency(1)
        table.add_row(
            "◆" if variant.name in front else "",
            Text(variant.name, style="bold" if variant.accepted else ""),
            Text(word, style=style),
            words.interval(variant.metric),
            words.interval(variant.difference, signed=True),
            "–" if one is None else words.milliseconds(one.p50_ms),
            "–" if one is None else words.milliseconds(one.p99_ms),
            "–" if one is None else words.times(one.speedup),
            words.size(variant.size_bytes),
            words.share(variant.traffic),
        )
    return table


def _legend(variants: Sequence[Variant]) -> str:
    rows = max((variant.metric.n for variant in variants if variant.metric is not None), default=0)
    targets = ", ".join(sorted({variant.target for variant in variants if variant.latencies}))
    return (
        f"◆ no other accepted variant is both better and faster · intervals are 95% over {rows:,} evaluation rows · "
        f"latency at batch 1 on {targets or 'nothing yet'}"
    )


def show_jobs(jobs: Sequence[Job]) -> None:
    """Prints jobs, newest first."""
    if not jobs:
        console().print("no jobs")
        return
    table = new_table("job", "model", "checkpoint", "state", "trials", "begun", "took")
    for job in jobs:
        done = sum(trial.state not in (TrialState.QUEUED, TrialState.RUNNING) for trial in job.trials)
        began = job.started_at or job.created_at
        took = "–"
        if job.started_at is not None and job.ended_at is not None:
            took = words.duration((job.ended_at - job.started_at).total_seconds())
        table.add_row(
            job.job_id,
            job.model,
            job.checkpoint,
            job.state.value,
            f"{done} of {len(job.trials)}",
            "–" if began is None else began.astimezone().strftime("%Y-%m-%d %H:%M:%S"),
            took,
        )
    console().print(table)


def show_trials(job: Job) -> None:
    """Prints what became of the recipes that a job tried."""
    table = new_table("recipe", "state", "variant")
    table.add_column("why it was tried", overflow="fold")
    table.add_column("what became of it", overflow="fold")
    for trial in job.trials:
        table.add_row(trial.recipe, trial.state.value, trial.variant or "–", trial.why or "asked for", trial.reason)
    console().print(table)


def show_unpublished(job: Job) -> None:
    """Prints the recipes of a job that made no variant, and why; nothing when all did."""
    out = console()
    for trial in job.trials:
        if not trial.variant:
            why = f": {trial.reason}" if trial.reason else ""
            out.print(Text.assemble("recipe ", (trial.recipe, "bold"), f" {trial.state.value}{why}"))


def show_traffic(traffic: Traffic) -> None:
    """Prints a split."""
    if not traffic.arms:
        console().print(f"{traffic.model} has no split yet: its first source will take all of the traffic")
        return
    table = new_table("variant")
    table.add_column("weight", justify="right")
    for arm in traffic.arms:
        table.add_row(arm.variant, words.share(arm.weight / 100))
    out = console()
    out.print(table)
    state = "applied" if traffic.applied else f"not applied yet; engines route by {traffic.applied_generation}"
    out.print(f"generation {traffic.generation} of {traffic.model}: {state}", style="dim")


def show_answers(answers: Sequence[tuple[int, str, str, str]]) -> None:
    """Prints (row, answer, label, answering variant)."""
    table = new_table("row", "answer", "label", "answered by")
    for row, answer, label, version in answers:
        table.add_row(str(row), answer, label, version)
    console().print(table)


def new_table(*titles: str) -> Table:
    """A table of the style that all of them have, with these first columns."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in titles:
        table.add_column(title, no_wrap=True)
    return table
