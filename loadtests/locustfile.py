"""The Locust users: callers that wait for their answer, and arrivals that wait for nobody.

They find their `loadtests.sender.Sender` as `environment.sender`; `loadtests.drive` puts it there.
"""

import time

import gevent
from locust import User, task


class WaitingUser(User):
    """Closed loop: sends, waits for the answer, sends again."""

    @task
    def ask(self) -> None:
        """One request."""
        self.environment.sender.send(self.environment)


class ArrivalsUser(User):
    """Open loop: one dispatcher that starts a greenlet for each request when it is due, answered or not.

    So a slow server meets the same load as a quick one, and no latency is left out because nobody was free to ask.
    """

    fixed_count = 1

    @task
    def dispatch(self) -> None:
        """Runs until the user is stopped; a schedule has no end."""
        sender = self.environment.sender
        for due_seconds in sender.schedule:
            wait_seconds = sender.started + due_seconds - time.perf_counter()
            # A zero sleep still lets the others run, so that a late dispatcher does not starve them.
            gevent.sleep(max(0.0, wait_seconds))
            sender.gauge.dispatched(time.perf_counter() - sender.started - due_seconds)
            gevent.spawn(sender.send, self.environment)
