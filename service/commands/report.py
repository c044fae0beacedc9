"""`stillroom report`: one offline HTML page of a model's variants."""

from pathlib import Path
from typing import Annotated

import typer

from service.commands.options import DEFAULT_SERVER, Json, ModelName, Server, connect


def report(
    name: ModelName,
    out: Annotated[Path, typer.Option(metavar="FILE", help="Page to write.")] = Path("report/index.html"),
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Also write the plot alone, as SVG.")] = None,
    server: Server = DEFAULT_SERVER,
    as_json: Json = False,
) -> None:
    """Write a page with the plot of accuracy against latency, all figures with their intervals, and the lineage."""
    from service.commands import json_form
    from service.report import page

    page.check_installed()
    with connect(server) as client:
        variants = client.variants(name)
        manifests = {variant.name: client.manifest(name, variant.name) for variant in variants}
    written = {out: page.render(name, variants, manifests)}
    if plot is not None:
        written[plot] = page.plot(name, variants)
    for path, text in written.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    if as_json:
        json_form.write({"model": name, "path": str(out), "variants": len(variants)})
    else:
        typer.echo("\n".join(str(path) for path in written))
