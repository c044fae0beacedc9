"""`stillroom pull`: a variant's files come here, verified."""

from pathlib import Path
from typing import Annotated

import typer

from service.commands.options import DEFAULT_SERVER, Json, ModelName, Server, connect


def pull(
    name: ModelName,
    variant: Annotated[str, typer.Argument(metavar="VARIANT", help="Name of the variant, such as r1.int8.")],
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Directory to make; it must be missing or empty.")],
    server: Server = DEFAULT_SERVER,
    as_json: Json = False,
) -> None:
    """Download a variant: model.onnx, and the manifest that says how it was made and measured."""
    from service.commands import json_form, progress

    with connect(server) as client, progress.transfer() as view:
        paths = client.pull(name, variant, directory, view)
    if as_json:
        json_form.write({"model": name, "variant": variant, "files": [str(path) for path in paths]})
        return
    for path in paths:
        typer.echo(str(path))
