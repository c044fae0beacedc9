"""The `stillroom` command: one subcommand a file in service/commands, put together here."""

import typer

from service.commands import infer, jobs, optimize, pull, push, report, serving, split, variants, version
from service.commands.failure import Commands

app = typer.Typer(
    name="stillroom",
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help=(
        "A trained checkpoint in; smaller and faster ONNX variants out, measured against it, and served over gRPC "
        "under an A/B split.\n\nExit codes: 0 done, 2 bad use, 1 anything else."
    ),
)

_CLIENT = "Ask a server"
_ROLES = "Run a server"

for asking in (
    push.push,
    optimize.optimize,
    jobs.jobs,
    variants.variants,
    pull.pull,
    split.split,
    infer.infer,
    report.report,
    version.version,
):
    app.command(rich_help_panel=_CLIENT)(asking)
for role in (serving.serve, serving.engine, serving.control, serving.worker):
    app.command(rich_help_panel=_ROLES)(role)


def main() -> None:
    """Runs the command line and exits."""
    app()


if __name__ == "__main__":
    main()
