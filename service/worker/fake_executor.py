"""An Executor without a process or a sandbox: the fake child's work in the caller's own thread, for tests."""

from collections.abc import Callable

from optimizer.recipe.trial import Event, Failed, Finished, Studied, TrialSpec
from service.worker import fake_child
from service.worker.executor import Interrupted, Listener, Order, Outcome


class _Stop(Exception):
    """Ends the child's work from within."""


class FakeExecutor:
    """See Executor. `interrupted` is asked before every event, as a child may be killed between any two."""

    # What the job is told in place of a sandbox's level.
    level = "none"

    def run(self, order: Order, listener: Listener, interrupted: Callable[[], bool]) -> Outcome:
        """See Executor."""
        spec = TrialSpec.model_validate_json(order.directory.spec.read_text())
        last: list[Finished | Studied | Failed] = []

        def say(event: Event) -> None:
            if interrupted():
                raise _Stop
            if isinstance(event, Finished | Studied | Failed):
                last.append(event)
            else:
                listener.happened(event)

        listener.confined(self.level)
        try:
            fake_child.run(spec, say)
        except _Stop:
            return Interrupted()
        return last[0]
