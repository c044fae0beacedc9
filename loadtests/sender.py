"""Sends one request for one simulated user and writes down what came of it; every kind of user goes through here."""

import random
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import grpc
from locust.env import Environment

from loadtests.client import Caller, status_of
from loadtests.pressure import PressureGauge
from loadtests.tally import Tally
from loadtests.traffic import Samples, address
from optimizer.errors import PassFailed
from service.errors import ServiceError


@dataclass
class Sender:
    """State of one phase of a run. Lives in one gevent hub."""

    caller: Caller
    samples: Samples
    # Positions of samples, without end.
    deal: Iterator[int]
    users: Sequence[str]
    source: random.Random
    gauge: PressureGauge
    # Due times in seconds since the start; None in a closed loop.
    schedule: Iterator[float] | None = None
    tally: Tally = field(default_factory=Tally)
    started: float = field(default_factory=time.perf_counter)
    # Calls that have been sent and not answered.
    under_way: int = 0

    def __post_init__(self) -> None:
        self._addresses = {user: address(user) for user in self.users}

    def send(self, environment: Environment) -> None:
        """The next sample on behalf of a random user. Failures are counted, never raised."""
        user = self.source.choice(self.users)
        sample = next(self.deal)
        request = self.samples.bodies[sample] + self._addresses[user]
        response = b""
        failure: Exception | None = None
        variant = "no answer"
        self.under_way += 1
        sent = time.perf_counter()
        try:
            response = self.caller.call(request)
            took_ms = (time.perf_counter() - sent) * 1000
            reply = self.caller.read(response)
        except grpc.RpcError as error:
            took_ms = (time.perf_counter() - sent) * 1000
            self.tally.error(*status_of(error))
            failure = error
        except (ServiceError, PassFailed) as error:
            self.tally.error("UNREADABLE", str(error))
            failure = error
        else:
            variant = reply.variant
            self.tally.reply(user, variant, sample, reply.predicted, took_ms, sent - self.started)
        finally:
            self.under_way -= 1
        environment.events.request.fire(
            request_type="ModelInfer",
            name=variant,
            response_time=took_ms,
            response_length=len(response),
            exception=failure,
            context={},
        )
