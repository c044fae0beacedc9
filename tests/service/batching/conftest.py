"""Entries whose answers are kept."""

from collections.abc import Callable

import numpy as np
import pytest

from service.batching.entry import Entry
from service.errors import ServiceError
from service.transport.fake import FakeCall
from service.types import InferRequest, InferResponse


class Answered(Entry):
    """An entry that remembers how it was answered."""

    __slots__ = ("outcomes",)

    def __init__(
        self, rows: int, width: int, value: float, arrived_ns: int, expires_ns: int | None, timeout: float | None
    ):
        self.outcomes: list[InferResponse | ServiceError] = []
        array = np.full((rows, width), value, np.float32)
        request = InferRequest("", (array,), rows, ((width,),), (0,))
        call = FakeCall("", b"", timeout_seconds=timeout)
        super().__init__(call, request, arrived_ns, expires_ns, lambda _, outcome: self._keep(outcome))

    def _keep(self, outcome: InferResponse | ServiceError) -> None:
        self.outcomes.append(outcome)
        if isinstance(outcome, ServiceError):
            self.call.fail(outcome.status, str(outcome))
        else:
            self.call.reply(b"")


@pytest.fixture
def make_entry() -> Callable[..., Answered]:
    def make(
        rows: int = 1,
        width: int = 2,
        value: float = 0.0,
        arrived_ns: int = 0,
        expires_ns: int | None = None,
        timeout: float | None = None,
    ) -> Answered:
        return Answered(rows, width, value, arrived_ns, expires_ns, timeout)

    return make
