"""`stillroom version`: which Stillroom this is, and which one answers at the server's address."""

import typer

from service.commands.options import DEFAULT_SERVER, Json, Server, connect


def version(server: Server = DEFAULT_SERVER, as_json: Json = False) -> None:
    """Show the version of this command and of the server, if one answers."""
    from service.commands import json_form
    from service.errors import Unreachable
    from service.version import stillroom_version

    with connect(server) as client:
        try:
            status = client.status()
        except Unreachable:
            status = None
    if as_json:
        found = None if status is None else {"version": status.version, "live": status.live, "ready": status.ready}
        json_form.write({"version": stillroom_version(), "server": found})
        return
    typer.echo(f"stillroom {stillroom_version()}")
    if status is None:
        typer.echo(f"no server answers at {server}")
    else:
        typer.echo(f"{server}: {status.name} {status.version}, {'ready' if status.ready else 'not ready'}")
