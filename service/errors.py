"""Every error that the service raises on purpose; each knows its gRPC status.

    ServiceError                    INTERNAL
    ├── InvalidArgument             INVALID_ARGUMENT     the request is wrong, whatever the server's state
    ├── NotFound                    NOT_FOUND            no such model, variant, job, upload
    ├── AlreadyExists               ALREADY_EXISTS
    ├── FailedPrecondition          FAILED_PRECONDITION  right request, wrong moment (no data set yet, say)
    ├── Conflict                    ABORTED              somebody else changed it first; read again and retry
    │   └── LeaseLost                                    a worker's fencing token is no longer the newest
    ├── PermissionDenied            PERMISSION_DENIED
    ├── ResourceExhausted           RESOURCE_EXHAUSTED   a size or count limit; the message names the knob
    ├── Unavailable                 UNAVAILABLE          not now: loading, stopping, queue full
    │   ├── Unreachable                                  a client's word: nobody answers at the server's address
    │   └── ControlAway                                  inference is served, the rest not now
    ├── DeadlineExceeded            DEADLINE_EXCEEDED
    ├── Cancelled                   CANCELLED
    └── Unimplemented               UNIMPLEMENTED

Messages go to the caller: they say what was wrong and what is allowed, and nothing of our insides. An exception outside
this tree becomes INTERNAL "internal error" with its details in the log only.
"""

from typing import ClassVar

import grpc


class ServiceError(Exception):
    """Root of the tree."""

    status: ClassVar[grpc.StatusCode] = grpc.StatusCode.INTERNAL


class InvalidArgument(ServiceError):
    """The request is wrong, whatever the server's state."""

    status = grpc.StatusCode.INVALID_ARGUMENT


class NotFound(ServiceError):
    """No such thing."""

    status = grpc.StatusCode.NOT_FOUND


class AlreadyExists(ServiceError):
    """The name is taken."""

    status = grpc.StatusCode.ALREADY_EXISTS


class FailedPrecondition(ServiceError):
    """A right request at the wrong moment."""

    status = grpc.StatusCode.FAILED_PRECONDITION


class Conflict(ServiceError):
    """Somebody else changed it first; read again and retry."""

    status = grpc.StatusCode.ABORTED


class LeaseLost(Conflict):
    """A worker's fencing token is no longer the newest: its results are not wanted any more."""


class PermissionDenied(ServiceError):
    """The caller may not do this."""

    status = grpc.StatusCode.PERMISSION_DENIED


class ResourceExhausted(ServiceError):
    """A size or count limit was hit; the message names the knob."""

    status = grpc.StatusCode.RESOURCE_EXHAUSTED


class Unavailable(ServiceError):
    """Not now: loading, stopping, or the queue is full."""

    status = grpc.StatusCode.UNAVAILABLE


class Unreachable(Unavailable):
    """Nobody answers at the server's address; raised by clients alone."""


class ControlAway(Unavailable):
    """The engine's front is up, and the control process that answers this call is not (yet)."""

    # Clients know it by these words: the status alone could mean a full queue.
    SENTENCE: ClassVar[str] = (
        "this call is answered by the control process, which is not running now; "
        "inference goes on without it, so try this call again later"
    )


class DeadlineExceeded(ServiceError):
    """The caller's time is up."""

    status = grpc.StatusCode.DEADLINE_EXCEEDED


class Cancelled(ServiceError):
    """The caller has gone."""

    status = grpc.StatusCode.CANCELLED


class Unimplemented(ServiceError):
    """The protocol has it, this server does not."""

    status = grpc.StatusCode.UNIMPLEMENTED
