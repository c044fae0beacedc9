"""The one place of control where an exception becomes a gRPC status."""

import errno
import logging
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

import grpc
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from optimizer.errors import InvalidInput, NotApplicable, UnsupportedModel
from service.errors import ServiceError

_LOG = logging.getLogger(__name__)

# Details travel in a header, and clients bound those at 8 KiB.
_LONGEST_MESSAGE = 2000


def status_of(error: Exception) -> tuple[grpc.StatusCode, str]:
    """What the caller is told. Of an exception that nobody foresaw they learn only that it was ours."""
    if isinstance(error, ServiceError):
        return error.status, str(error)[:_LONGEST_MESSAGE]
    if isinstance(error, InvalidInput):
        return grpc.StatusCode.INVALID_ARGUMENT, str(error)[:_LONGEST_MESSAGE]
    if isinstance(error, UnsupportedModel | NotApplicable):
        return grpc.StatusCode.FAILED_PRECONDITION, str(error)[:_LONGEST_MESSAGE]
    if _is_disk_full(error):
        return grpc.StatusCode.RESOURCE_EXHAUSTED, "the server's disk is full"
    if isinstance(error, OperationalError | PoolTimeout):
        return grpc.StatusCode.UNAVAILABLE, "the registry is busy; try again"
    return grpc.StatusCode.INTERNAL, "internal error"


class ErrorTranslation(grpc.ServerInterceptor):  # type: ignore[misc]  # grpc has no types
    """Wraps every method of our own services; health and reflection answer for themselves."""

    def intercept_service(self, continuation: Callable[[Any], Any], details: Any) -> Any:
        """See grpc.ServerInterceptor."""
        handler = continuation(details)
        if handler is None or not details.method.startswith("/stillroom."):
            return handler
        arity = (
            "stream" if handler.request_streaming else "unary",
            "stream" if handler.response_streaming else "unary",
        )
        behaviour = getattr(handler, "_".join(arity))
        make = getattr(grpc, f"{'_'.join(arity)}_rpc_method_handler")
        wrap = _streaming if handler.response_streaming else _single
        return make(wrap(behaviour, details.method), handler.request_deserializer, handler.response_serializer)


def _single(behaviour: Callable[..., Any], method: str) -> Callable[..., Any]:
    def answer(request: Any, context: grpc.ServicerContext) -> Any:
        with _Translated(context, method):
            return behaviour(request, context)

    return answer


def _streaming(behaviour: Callable[..., Iterator[Any]], method: str) -> Callable[..., Iterator[Any]]:
    def answer(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        with _Translated(context, method):
            yield from behaviour(request, context)

    return answer


class _Translated:
    def __init__(self, context: grpc.ServicerContext, method: str) -> None:
        self._context = context
        self._method = method

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # RpcError: the caller has gone, and grpc knows. GeneratorExit and its like are not Exceptions.
        if not isinstance(error, Exception) or isinstance(error, grpc.RpcError):
            return
        status, message = status_of(error)
        if status is grpc.StatusCode.INTERNAL:
            _LOG.error("%s failed", self._method, exc_info=error)
        elif not isinstance(error, ServiceError | InvalidInput):
            _LOG.warning("%s answered %s: %s", self._method, status.name, error)
        self._context.abort(status, message)


def _is_disk_full(error: Exception) -> bool:
    if isinstance(error, OperationalError):
        return "disk is full" in str(error.orig)
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
