"""`stillroom split`: says, or changes, which variant answers which share of a model's requests."""

from typing import Annotated

import typer

from service.commands.failure import FAILED
from service.commands.options import DEFAULT_SERVER, Json, ModelName, Server, connect


def split(
    name: ModelName,
    arms: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[VARIANT=WEIGHT]...", help="Weights in percent; they sum to 100. None: show the split."
        ),
    ] = None,
    reason: Annotated[str, typer.Option(help="Why, for the record.")] = "",
    server: Server = DEFAULT_SERVER,
    as_json: Json = False,
) -> None:
    """Show or change a model's split. Exits with 1 when the engines have not applied it within ten seconds."""
    from service.commands import arguments, json_form, tables

    weights = arguments.weights(arms) if arms else None
    with connect(server) as client:
        traffic = client.traffic(name) if weights is None else client.split(name, weights, reason=reason)
    for warning in traffic.warnings:
        typer.echo(f"warning: {warning}", err=True)
    if as_json:
        json_form.write(json_form.traffic(traffic))
    else:
        tables.show_traffic(traffic)
    if weights is not None and not traffic.applied:
        typer.echo("error: the split is written, but the engines have not applied it yet", err=True)
        raise typer.Exit(FAILED)
