"""One immutable table of routes, swapped whole; a choice takes a few microseconds and no lock."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from service.errors import NotFound, Unavailable
from service.routing.split import Split

Target = TypeVar("Target")


@dataclass(frozen=True)
class Route(Generic[Target]):
    """The routes of one model."""

    # All variants that are READY, by name.
    ready: Mapping[str, Target]
    # Names of the variants that are known and not READY.
    waiting: frozenset[str]
    # None: no unpinned request can be answered now.
    split: Split | None
    # Counts the requests that carry no key; `next` on it is atomic.
    draws: "itertools.count[int]" = field(default_factory=itertools.count)


class Router(Generic[Target]):
    """Chooses the target of a request. Any thread may choose; `swap` replaces the table for all at once."""

    def __init__(self) -> None:
        self._table: Mapping[tuple[str, str], Route[Target]] = {}

    def swap(self, table: Mapping[tuple[str, str], Route[Target]]) -> None:
        """Replaces the table, {(tenant, model): route}; it must not be changed afterwards."""
        self._table = table

    def route(self, tenant: str, model: str) -> Route[Target]:
        """A model's routes. Raises NotFound."""
        try:
            return self._table[tenant, model]
        except KeyError:
            raise NotFound(f"Request for unknown model: '{model}' is not found") from None

    def models(self, tenant: str) -> list[str]:
        """The names of a tenant's models."""
        return [model for owner, model in self._table if owner == tenant]

    def choose(self, tenant: str, model: str, version: str, key: str | None) -> Target:
        """The target of a request: the pinned variant, or the split's choice for its key or for the next draw.

        Raises NotFound for an unknown model or variant, and Unavailable for one that cannot answer now.
        """
        route = self.route(tenant, model)
        if not version:
            if route.split is None:
                if not route.ready and not route.waiting:
                    raise NotFound(f"Request for unknown model: '{model}' has no available versions")
                raise Unavailable(f"Request for model '{model}': no version that takes its traffic is at ready state")
            version = route.split.by_draw(next(route.draws)) if key is None else route.split.by_key(key)
        target = route.ready.get(version)
        if target is not None:
            return target
        if version in route.waiting:
            raise Unavailable(f"Request for unknown model: '{model}' version {version} is not at ready state")
        raise NotFound(f"Request for unknown model: '{model}' version {version} is not found")
