"""Takes one field through a running server, as its user would: push, optimize, read the table, pull the files."""

import json
import os
import shutil
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from loadtests import commands
from loadtests.fields.field import Field, Prepared
from loadtests.results.judged import Row, row_of

# The page's margin: one point, or one hundredth of a metric without an upper end.
MARGIN = 0.01
_RECIPES = Path(__file__).parent / "recipes"


@dataclass(frozen=True)
class FieldResult:
    """What came of one field."""

    field: Field
    rows: tuple[Row, ...]
    metric: str
    parameters_millions: float
    seconds: float
    # Seconds from the job's start to its first variant, the source, and to the first accepted one of its own.
    first_variant_seconds: float | None
    first_accepted_seconds: float | None
    prepared: Prepared
    # Where the source's and the variants' files lie.
    pulled: Path


def prepare(field: Field, cache: Path) -> Prepared:
    """The field's files, made unless they are there."""
    directory = cache / field.name
    facts = directory / "prepared.json"
    if facts.exists():
        known = json.loads(facts.read_text())
        return Prepared(Path(known["checkpoint"]), Path(known["train"]), Path(known["evaluation"]), known["parameters"])
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    print(f"preparing {field.name}: {field.network} on {field.data}", flush=True)
    made = field.prepare(directory, False)
    facts.write_text(
        json.dumps(
            {
                "checkpoint": str(made.checkpoint),
                "train": str(made.train),
                "evaluation": str(made.evaluation),
                "parameters": made.parameters_millions,
            }
        )
    )
    return made


def run(field: Field, prepared: Prepared, server: str, into: Path, budget: str) -> FieldResult:
    """Pushes and optimizes: automatically until the budget ends, then with the field's own recipes."""
    environment = os.environ | {"STILLROOM_SERVER": server}
    began = time.monotonic()

    def stillroom(*arguments: str) -> None:
        commands.show(["stillroom", *arguments])
        commands.run(commands.stillroom(*arguments), environment)

    def told(*arguments: str) -> Any:
        return json.loads(commands.output(commands.stillroom(*arguments, "--json"), environment))

    data = [f"--data=train={prepared.train}", f"--data=eval={prepared.evaluation}"]
    stillroom("push", field.name, str(prepared.checkpoint), *data, "--task", field.task)
    recipes = [f"--recipe={path}" for path in sorted((_RECIPES / field.name).glob("*.yaml"))]
    stillroom("optimize", field.name, "--auto", "--max-accuracy-drop", str(MARGIN), "--budget", budget, "--wait")
    if recipes:
        stillroom("optimize", field.name, *recipes, "--max-accuracy-drop", str(MARGIN), "--wait")
    variants = told("variants", field.name)
    jobs = told("jobs", field.name)
    source = next(variant for variant in variants if variant["parent"] is None)
    for variant in variants:
        directory = into / field.name / variant["name"]
        shutil.rmtree(directory, ignore_errors=True)
        commands.output(commands.stillroom("pull", field.name, variant["name"], str(directory)), environment)
    stillroom("report", field.name, "--out", f"report/results/{field.name}.html")
    return FieldResult(
        field=field,
        rows=tuple(row_of(variant, source["size_bytes"]) for variant in variants),
        metric=source["metric"]["name"],
        parameters_millions=prepared.parameters_millions,
        seconds=time.monotonic() - began,
        first_variant_seconds=_waited(jobs, [source]),
        first_accepted_seconds=_waited(jobs, [found for found in variants if found["accepted"] and found["parent"]]),
        prepared=prepared,
        pulled=into / field.name,
    )


def _waited(jobs: list[dict[str, Any]], variants: list[dict[str, Any]]) -> float | None:
    """Seconds from the first job's start to the first of these variants."""
    if not variants:
        return None
    started = min(_seconds(job["started_at"]) for job in jobs if job["started_at"])
    return min(_seconds(variant["created_at"]) for variant in variants) - started


def _seconds(text: str) -> float:

    return datetime.fromisoformat(text).timestamp()
