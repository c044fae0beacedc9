"""Options and arguments that several commands share, and how a client is opened by them."""

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from service.client.client import Client

# The client's own default, kept in step by a test; importing it here would cost each start a tenth of a second.
DEFAULT_SERVER = "127.0.0.1:8001"

Server = Annotated[
    str, typer.Option("--server", envvar="STILLROOM_SERVER", metavar="HOST:PORT", help="gRPC address of the server.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, in the form that docs/cli.md describes.")]
ModelName = Annotated[str, typer.Argument(metavar="NAME", help="Name of the model.")]


def connect(server: str) -> "Client":
    """A client of the server; nothing is sent yet. Close it, or use it in a `with`."""
    from service.client.client import Client

    return Client(server)


def command_line(rest: str, server: str) -> str:
    """A command to suggest, with --server where the user had to name one."""
    named = "" if server == DEFAULT_SERVER else f" --server {server}"
    return f"stillroom {rest}{named}"
