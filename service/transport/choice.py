"""Which adapter serves: the one asked for, or with "auto" the native front where it can be had."""

import logging
from typing import Literal

from service.errors import FailedPrecondition
from service.transport.base import Front, FrontOptions

_LOG = logging.getLogger(__name__)


def open_front(transport: Literal["auto", "native", "grpcio"], options: FrontOptions) -> Front:
    """Makes a front; `start` it next. Raises FailedPrecondition when it cannot be had."""
    if transport != "grpcio":
        try:
            from service.transport.native import NativeFront
        except ImportError as error:
            if transport == "native":
                raise FailedPrecondition(
                    "the native transport needs the package pygrpc-native, which is not installed for this platform"
                ) from error
            _LOG.warning("serving through grpcio: the native front cannot be loaded (%s)", error)
        else:
            return NativeFront(options)
    from service.transport.grpcio import GrpcioFront

    return GrpcioFront(options)
