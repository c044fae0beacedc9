"""How the fake server says no."""

from typing import NoReturn

import grpc


def refuse(context: grpc.ServicerContext, code: grpc.StatusCode, sentence: str) -> NoReturn:
    """Ends the call with a status and a sentence."""
    context.abort(code, sentence)
    raise AssertionError("abort returned")


def not_found(context: grpc.ServicerContext, what: str) -> NoReturn:
    """Ends the call with NOT_FOUND."""
    refuse(context, grpc.StatusCode.NOT_FOUND, f"there is no {what}")
