"""Runs a plan with Locust inside this process: self-check, capacity, then the load. Needs gevent in place.

Import it in a process that `loadtests.generator` has prepared, nowhere else.
"""

import itertools
import random
import time
from collections.abc import Callable
from pathlib import Path

import gevent
import locust.stats
from locust.env import Environment

from loadtests import selfcheck
from loadtests.client import Caller
from loadtests.locustfile import ArrivalsUser, WaitingUser
from loadtests.plan import SAMPLES_FILE, Outcome, Plan
from loadtests.pressure import Pressure, PressureGauge
from loadtests.sender import Sender
from loadtests.shapes import due, sustainable
from loadtests.traffic import Samples, passes, user_names

Say = Callable[[str], None]

# Locust's own table ends with the load; answers still under way get this long beyond their deadline.
_LAST_ANSWERS_SECONDS = 1.0


class NothingAnswered(RuntimeError):
    """Not one call of the first seconds succeeded."""


def tenth_of_a_millisecond(response_time_ms: float) -> float:
    """Locust's buckets, which are whole milliseconds at best: too coarse to tell two quick variants apart."""
    return round(response_time_ms, 1)


def run(plan: Plan, spool: Path, say: Say) -> Outcome:
    """Drives the server and returns what was seen. Raises CallsDoNotOverlap or NothingAnswered."""
    # It is declared to give whole numbers; any number does as a bucket.
    locust.stats.bucket_response_time = tenth_of_a_millisecond  # type: ignore[assignment]
    selfcheck_seconds = selfcheck.check()
    samples = Samples.load(spool / SAMPLES_FILE)
    source = random.Random(plan.seed)
    caller = Caller(plan.server, plan.output, plan.deadline_seconds)

    def sender() -> Sender:
        return Sender(caller, samples, passes(len(samples), source), user_names(plan.users), source, PressureGauge())

    try:
        capacity = None
        rate = plan.rate_per_second if plan.arrivals != "closed" else None
        if plan.rate_per_second is None:
            first = sender()
            _phase(WaitingUser, first, plan.concurrency, plan.capacity_seconds, plan.deadline_seconds)
            capacity = _replies(first) / plan.capacity_seconds
            if not capacity:
                raise NothingAnswered(f"no call was answered: {_first_error(first)}")
            say(f"{plan.concurrency} callers reach {capacity:.0f} calls a second")
            if plan.arrivals != "closed":
                rate = sustainable(capacity)
        main = sender()
        if rate is None:
            say(f"{plan.concurrency} callers without pause for {plan.seconds:g} s")
        else:
            say(f"{plan.arrivals} arrivals, {rate:.0f} a second, for {plan.seconds:g} s")
            main.schedule = due(plan.arrivals, rate, source)
        teller = gevent.spawn(_tell, main, say)
        user, count = (WaitingUser, plan.concurrency) if rate is None else (ArrivalsUser, 1)
        environment, pressure = _phase(user, main, count, plan.seconds, plan.deadline_seconds)
        teller.kill()
    finally:
        caller.close()
    return Outcome(main.tally, pressure, plan.seconds, capacity, rate, selfcheck_seconds, _table(environment))


class _Environment(Environment):
    """Locust's, with what its users send through."""

    sender: Sender


def _phase(
    user: type[locust.User], sender: Sender, count: int, seconds: float, deadline_seconds: float
) -> tuple[Environment, Pressure]:
    """Lets `count` users run for so long, then lets the last calls come in."""
    environment = _Environment(user_classes=[user])
    environment.sender = sender
    runner = environment.create_local_runner()
    sender.started = time.perf_counter()
    sender.gauge.start()
    runner.start(count, spawn_rate=count)
    gevent.sleep(seconds)
    pressure = sender.gauge.stop()
    # A dispatcher never ends by itself; callers in a closed loop finish the call they are in.
    environment.stop_timeout = 0.0 if sender.schedule is not None else deadline_seconds
    runner.quit()
    with gevent.Timeout(deadline_seconds + _LAST_ANSWERS_SECONDS, False):
        while sender.under_way:
            gevent.sleep(0.01)
    return environment, pressure


def _replies(sender: Sender) -> int:
    return sender.tally.sent - sender.tally.errors.total()


def _first_error(sender: Sender) -> str:
    status, details = next(iter(sender.tally.error_examples.items()), ("", "the server did not answer in time"))
    return f"{status} {details}".strip()


def _tell(sender: Sender, say: Say) -> None:
    """A line every five seconds."""
    before = 0
    for second in itertools.count(5, 5):
        gevent.sleep(5)
        sent = sender.tally.sent
        say(f"{second:4d} s  {(sent - before) / 5:6.0f} calls/s  {sender.tally.errors.total()} errors")
        before = sent


def _table(environment: Environment) -> dict[str, dict[str, float]]:
    """Locust's own statistics by variant, to compare with ours."""
    return {
        name: {
            "count": entry.num_requests,
            "failures": entry.num_failures,
            "mean_ms": entry.avg_response_time,
            "p50_ms": entry.get_response_time_percentile(0.5),
            "p95_ms": entry.get_response_time_percentile(0.95),
            "p99_ms": entry.get_response_time_percentile(0.99),
        }
        for (name, _), entry in environment.stats.entries.items()
    }
