"""`stillroom optimize`: asks for variants of a checkpoint, and may wait for them."""

from pathlib import Path
from typing import Annotated

import typer

from service.commands.options import DEFAULT_SERVER, Json, ModelName, Server, command_line, connect


def optimize(
    name: ModelName,
    recipe: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", exists=True, dir_okay=False, help="A recipe in YAML; may be given several times."),
    ] = None,
    auto: Annotated[
        bool, typer.Option("--auto", help="Let the server choose the recipes, as it does when none is given.")
    ] = False,
    checkpoint: Annotated[str, typer.Option(metavar="rN", help="Revision to start from; default: the newest.")] = "",
    max_accuracy_drop: Annotated[
        float | None,
        typer.Option(
            metavar="X", help="Largest accepted loss against the source, as a fraction; default: 0.01, one point."
        ),
    ] = None,
    max_latency: Annotated[
        str, typer.Option(metavar="TIME", help="Largest 95th percentile of the latency at batch 1: 5ms, 250us.")
    ] = "",
    max_size: Annotated[str, typer.Option(metavar="SIZE", help="Largest model file: 10MB, 8MiB, 800kB.")] = "",
    prefer: Annotated[
        str,
        typer.Option(metavar="GOAL", help="What is best among all that holds: latency, size, memory or accuracy."),
    ] = "",
    budget: Annotated[
        str, typer.Option(metavar="TIME", help="Begin no recipe after so long: 90s, 5m, 1h30m; default: no limit.")
    ] = "",
    seed: Annotated[int, typer.Option(help="Seed of the data split and of the training.")] = 0,
    wait: Annotated[
        bool, typer.Option("--wait", help="Follow the job to its end; exits with 1 unless it succeeds.")
    ] = False,
    plan: Annotated[
        bool,
        typer.Option(
            "--plan", help="Say what would be tried, for about how long, and what the rows can tell; no more."
        ),
    ] = False,
    server: Server = DEFAULT_SERVER,
    as_json: Json = False,
) -> None:
    """Make smaller and faster variants of a checkpoint, and measure each against it."""
    from service.client.optimizing import Wishes
    from service.commands import arguments, following, json_form, plans, tables
    from service.errors import InvalidArgument

    if auto and recipe:
        raise InvalidArgument("--auto and --recipe exclude each other")
    if max_accuracy_drop is not None and not 0 <= max_accuracy_drop < 1:
        raise InvalidArgument("--max-accuracy-drop is a fraction of at least 0 and below 1: 0.01 is one point")
    if plan and wait:
        raise InvalidArgument("--plan and --wait exclude each other: a plan starts nothing")
    wishes: Wishes = {
        "checkpoint": checkpoint,
        "recipes": [_text(path) for path in recipe or []],
        "max_accuracy_drop": max_accuracy_drop,
        "max_p95_ms": arguments.milliseconds(max_latency) if max_latency else None,
        "max_size_bytes": arguments.size_bytes(max_size) if max_size else None,
        "prefer": prefer,
        "budget_seconds": arguments.seconds(budget) if budget else 0.0,
        "seed": seed,
    }
    with connect(server) as client:
        if plan:
            planned = client.plan(name, **wishes)
            if as_json:
                json_form.write(json_form.plan(planned))
            else:
                plans.show_plan(planned)
            return
        job = client.optimize(name, **wishes)
        if wait:
            typer.echo(f"job {job.job_id} on {job.model} {job.checkpoint}", err=True)
            job = following.follow(client, job.job_id)
        if as_json:
            json_form.write(json_form.job(job))
        elif wait:
            tables.show_variants(name, client.variants(name))
            tables.show_unpublished(job)
        else:
            typer.echo(f"job {job.job_id} on {job.model} {job.checkpoint}: {job.state.value}")
            typer.echo(f"watch it: {command_line(f'jobs --watch {job.job_id}', server)}")
    if wait:
        following.end(job)


def _text(path: Path) -> str:
    from service.errors import InvalidArgument

    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise InvalidArgument(f"{path} is not a text file; a recipe is YAML") from error
