"""One unary call, made again while the control process behind the server's front is only just starting."""

from typing import Any

from service.client.connection import translated
from service.client.patience import Patience
from service.errors import ControlAway

# A server answers inference before its control process does; that follows within seconds, also after a crash.
CONTROL_PATIENCE_SECONDS = 10.0


def ask(server: str, method: Any, request: Any, timeout_seconds: float, patience: Patience) -> Any:
    """The answer of `method`, a stub that grpc generates (it carries no types).

    Nobody has seen a call that control was not there for, so any call may be made again. Raises errors of
    service.errors, ControlAway when `patience` is spent.
    """
    while True:
        try:
            with translated(server):
                return method(request, timeout=timeout_seconds)
        except ControlAway as error:
            patience.wait(error)
