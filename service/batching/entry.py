"""A request that waits for its turn, and knows how to be answered."""

from collections.abc import Callable

from service.errors import Cancelled, DeadlineExceeded, ServiceError, Unavailable
from service.transport.base import Call
from service.types import InferRequest, InferResponse

Deliver = Callable[["Entry", InferResponse | ServiceError], None]


class Entry:
    """A validated request in a queue.

    Whoever takes it out calls `deliver(entry, outcome)` exactly once, from any thread; `deliver` does not raise.
    """

    __slots__ = ("arrived_ns", "call", "deliver", "expires_ns", "request", "rows", "shapes")

    def __init__(
        self,
        call: Call,
        request: InferRequest,
        arrived_ns: int,
        expires_ns: int | None,
        deliver: Deliver,
    ) -> None:
        self.call = call
        self.request = request
        self.rows = request.rows
        self.shapes = request.shapes
        self.arrived_ns = arrived_ns
        # When the client's `timeout` parameter ends its patience with the queue.
        self.expires_ns = expires_ns
        self.deliver = deliver

    def death(self, now_ns: int) -> ServiceError | None:
        """Why running this request would be wasted, if it would be."""
        if self.call.cancelled:
            return Cancelled("the caller cancelled the request")
        if self.expires_ns is not None and now_ns >= self.expires_ns:
            return Unavailable("Request timeout expired")
        deadline_ns = self.call.deadline_ns
        if deadline_ns is not None and now_ns >= deadline_ns:
            return DeadlineExceeded("the deadline passed while the request was waiting")
        return None
