"""The roll-over rule: what an engine does next with the variants it holds. Pure, stateless, idempotent.

Load before unload: nothing of a model is given up while a variant that shall replace it is not there yet. A variant
that still takes traffic is never given up.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Literal

from service.models.servable import State


@dataclass(frozen=True)
class Held:
    """A servable as the rule sees it."""

    key: Hashable
    model: Hashable
    state: State
    # Whether control wants it held.
    desired: bool
    # Whether the traffic table that is applied now sends requests to it.
    routed: bool
    # Whether traffic that control wants waits for it, or it is a source: loaded before the others.
    urgent: bool = False


@dataclass(frozen=True)
class Action:
    """What to do with one servable."""

    kind: Literal["load", "unload", "forget"]
    key: Hashable


def next_action(held: Sequence[Held]) -> Action | None:
    """The next thing to do, or None: all is as desired, or waits for a load under way."""
    new = [servable for servable in held if servable.state is State.NEW]
    for servable in new:
        if not servable.desired:
            return Action("forget", servable.key)
    for servable in held:
        if servable.desired or servable.routed:
            continue
        if servable.state in (State.FAILED, State.UNLOADED):
            return Action("forget", servable.key)
    loadable = [servable for servable in new if servable.desired]
    if loadable:
        return Action("load", next((servable for servable in loadable if servable.urgent), loadable[0]).key)
    coming = {servable.model for servable in held if servable.desired and servable.state is State.LOADING}
    for servable in held:
        idle = servable.state is State.READY and not servable.desired and not servable.routed
        if idle and servable.model not in coming:
            return Action("unload", servable.key)
    return None
