"""`stillroom report`: one offline HTML page of a model's variants."""

from pathlib import Path
from typing import Annotated

import typer

from service.commands.options import DEFAULT_SERVER, Json, ModelName, Server, connect


def report(
    name: ModelName,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Page to write.")] = Path("report/index.html"),
    server: Server = DEFAULT_SERVER,
    as_json: Json = False,
) -> None:
    """Write a page with the plot of accuracy against latency, all figures with their intervals, and the lineage."""
    from service.commands import json_form
    from service.report.page import check_installed, render

    check_installed()
    with connect(server) as client:
        variants = client.variants(name)
        manifests = {variant.name: client.manifest(name, variant.name) for variant in variants}
    html = render(name, variants, manifests)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(html, encoding="utf-8")
    if as_json:
        json_form.write({"model": name, "path": str(out), "variants": len(variants)})
    else:
        typer.echo(str(out))
