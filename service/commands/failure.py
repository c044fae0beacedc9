"""What an error becomes on the command line: one sentence on stderr and an exit code, never a traceback.

Exit codes: 0 done; 2 bad use (the command line, or a request that is wrong whatever the server's state); 1 the rest.
"""

from typing import Any

import typer
from typer.core import TyperGroup

DONE = 0
FAILED = 1
BAD_USE = 2


def _expected() -> tuple[type[BaseException], ...]:
    """Errors that say all there is to say; imported only when there is one, since gRPC is slow to import."""
    from optimizer.errors import OptimizerError
    from service.errors import ServiceError

    return (ServiceError, OptimizerError, OSError, KeyboardInterrupt)


def exit_code(error: BaseException) -> int:
    """2 for a wrong request or a wrong file of the user's, 1 for everything else."""
    from optimizer.errors import InvalidInput
    from service.errors import InvalidArgument

    return BAD_USE if isinstance(error, InvalidArgument | InvalidInput) else FAILED


def sentence(error: BaseException) -> str:
    """What went wrong, and what to do about it where that can be known."""
    from service.errors import Unreachable

    if isinstance(error, KeyboardInterrupt):
        return "interrupted"
    if isinstance(error, Unreachable):
        return f"{error}; start one with `stillroom serve`, or name another with --server HOST:PORT or STILLROOM_SERVER"
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename is not None else ""
        return f"{where}{error.strerror or error}"
    return str(error)


class Commands(TyperGroup):
    """A group of commands that ends with a sentence where they raise an expected error."""

    def invoke(self, ctx: Any) -> Any:
        """Runs the chosen command."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            # The reader of our output (`head`, say) has seen enough; typer ends quietly.
            raise
        except _expected() as error:
            typer.echo(f"error: {sentence(error)}", err=True)
            raise typer.Exit(exit_code(error)) from error
