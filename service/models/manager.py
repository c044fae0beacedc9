"""Holds the servables of an engine, and applies the roll-over rule aside, in one thread."""

import logging
import threading
from collections.abc import Callable, Collection, Sequence

from service.models.loader import Loader
from service.models.policy import Action, Held, next_action
from service.models.servable import Description, Key, Servable, State

_LOG = logging.getLogger(__name__)


class Manager:
    """Loads and unloads, one servable at a time.

    `routed` says which servables traffic reaches now; `changed` is called after every change of state, from any
    thread and without a lock held, and must have taken a servable that is no longer READY out of the routes when it
    returns. `urgent` says which are to be loaded first.
    """

    def __init__(
        self,
        loader: Loader,
        make: Callable[[Description], Servable],
        routed: Callable[[], Collection[Key]],
        urgent: Callable[[], Collection[Key]],
        changed: Callable[[], None],
    ) -> None:
        self._loader = loader
        self._make = make
        self._routed = routed
        self._urgent = urgent
        self._changed = changed
        self._desired: dict[Key, Description] = {}
        self._held: dict[Key, Servable] = {}
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._loop, name="roll-over", daemon=True)

    def start(self) -> None:
        """Starts the thread that loads and unloads."""
        self._thread.start()

    def set_desired(self, descriptions: Sequence[Description]) -> None:
        """Replaces what shall be held; returns at once."""
        with self._lock:
            self._desired = {description.key: description for description in descriptions}
            for key, description in self._desired.items():
                if key in self._held:
                    self._held[key].description = description
            self._adopt()
        self._changed()
        self._wake.set()

    def reconsider(self) -> None:
        """The routes have changed: something may be unloaded now."""
        self._wake.set()

    def servables(self) -> list[Servable]:
        """All that is held, desired ones first and in their order."""
        with self._lock:
            order = {key: position for position, key in enumerate(self._desired)}
            return sorted(self._held.values(), key=lambda servable: order.get(servable.description.key, len(order)))

    def stop(self, timeout_seconds: float) -> bool:
        """Ends the thread and all servables; drain first. False when something runs for longer than the timeout."""
        self._stopping = True
        self._wake.set()
        self._thread.join(timeout_seconds)
        closed = [servable.close(timeout_seconds) for servable in self.servables()]
        return all(closed) and not self._thread.is_alive()

    def _adopt(self) -> None:
        for key, description in self._desired.items():
            held = self._held.get(key)
            if held is None or held.state is State.UNLOADED:
                self._held[key] = self._make(description)

    def _loop(self) -> None:
        while True:
            self._wake.wait()
            self._wake.clear()
            while not self._stopping and (chosen := self._choose()) is not None:
                self._do(*chosen)
            if self._stopping:
                return

    def _choose(self) -> tuple[Action, Servable] | None:
        routed, urgent = self._routed(), self._urgent()
        with self._lock:
            self._adopt()
            action = next_action(
                [
                    Held(
                        key=key,
                        model=key[:2],
                        state=servable.state,
                        desired=key in self._desired,
                        routed=key in routed,
                        urgent=key in urgent,
                    )
                    for key, servable in self._held.items()
                ]
            )
            if action is None:
                return None
            servable = next(servable for key, servable in self._held.items() if key == action.key)
            # The state changes under the lock, so that what was just desired again is not given up.
            if action.kind == "load":
                servable.move(State.LOADING)
            elif action.kind == "unload":
                servable.move(State.DRAINING)
            else:
                del self._held[servable.description.key]
            return action, servable

    def _do(self, action: Action, servable: Servable) -> None:
        self._changed()
        if action.kind == "load":
            self._loader.load(servable)
        elif action.kind == "unload":
            servable.wait_idle()
            servable.close()
            servable.move(State.UNLOADED)
            _LOG.info("%s is unloaded", servable.description.name)
        if action.kind != "forget":
            self._changed()
