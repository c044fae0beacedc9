"""Keeps what the engine holds and where requests go in step with what control wants."""

import itertools
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from optimizer.artifact.session import SessionSpec
from service.errors import InvalidArgument
from service.inference.served import Served
from service.metrics import ServableSample
from service.models.desired import describe
from service.models.loader import Loader
from service.models.manager import Manager
from service.models.servable import Description, Key, Servable, State
from service.routing.plan import Candidate, Presence, Shares, choose_shares
from service.routing.router import Route, Router
from service.routing.split import BUCKETS, Split
from service.wire.stillroom.internal.v1 import engine_service_pb2 as wire

_LOG = logging.getLogger(__name__)

_Model = tuple[str, str]
_PRESENCE = {State.NEW: Presence.COMING, State.LOADING: Presence.COMING, State.READY: Presence.READY}


@dataclass(frozen=True)
class _Applied:
    """The split that a model's requests follow now."""

    shares: Shares
    split: Split
    draws: "itertools.count[int]" = field(default_factory=itertools.count)


class Roster:
    """The desired state, the servables and the routes. Any thread; `changed` is called when the state has changed."""

    def __init__(
        self,
        engine_id: str,
        loader: Loader,
        make: Callable[[Description], Servable],
        default_session: SessionSpec,
        changed: Callable[[], None],
    ) -> None:
        self.router: Router[Served] = Router()
        self._engine_id = engine_id
        self._default_session = default_session
        self._notify = changed
        self._lock = threading.Lock()
        self._version = 0
        self._wanted: dict[_Model, Shares] = {}
        self._applied: dict[_Model, _Applied] = {}
        self._served: dict[Key, Served] = {}
        self._routed: frozenset[Key] = frozenset()
        self._urgent: frozenset[Key] = frozenset()
        self._settled = False
        self._manager = Manager(loader, make, lambda: self._routed, lambda: self._urgent, self._refresh)

    @property
    def settled(self) -> bool:
        """Whether everything that was wanted first has been loaded or has failed; stays true."""
        return self._settled

    def start(self) -> None:
        """Begins to load."""
        self._manager.start()
        self._refresh()

    def stop(self, timeout_seconds: float) -> bool:
        """Unloads everything. False when something runs for longer than the timeout."""
        return self._manager.stop(timeout_seconds)

    def apply(self, desired: wire.DesiredState) -> bool:
        """Takes over a newer desired state; an older one is False, a wrong one InvalidArgument, and changes nothing."""
        descriptions = [describe(held, self._default_session) for held in desired.variants]
        wanted = {(table.tenant, table.model): _shares(table) for table in desired.traffic}
        arms = {(*model, variant) for model, shares in wanted.items() for variant, _ in shares.arms}
        with self._lock:
            if desired.version <= self._version:
                return False
            self._version = desired.version
            self._wanted = wanted
            self._urgent = frozenset(
                description.key
                for description in descriptions
                if description.source or (description.tenant, description.model, description.variant) in arms
            )
        self._manager.set_desired(descriptions)
        return True

    def servables(self) -> list[Servable]:
        """All that is held, in control's order."""
        return self._manager.servables()

    def samples(self) -> list[ServableSample]:
        """What a scrape sees."""
        return [
            ServableSample(
                servable.description.model,
                servable.description.variant,
                servable.state.value,
                len(servable.queue),
                servable.recorder,
            )
            for servable in self.servables()
        ]

    def state(self) -> wire.EngineState:
        """What control is told."""
        servables = [
            wire.ServableStatus(
                tenant=servable.description.tenant,
                model=servable.description.model,
                variant=servable.description.variant,
                state=servable.state.value,
                reason=servable.reason,
            )
            for servable in self.servables()
        ]
        with self._lock:
            applied = [
                wire.AppliedTraffic(tenant=tenant, model=model, generation=applied.shares.generation)
                for (tenant, model), applied in self._applied.items()
                if applied.shares.generation
            ]
            return wire.EngineState(
                engine_id=self._engine_id, desired_version=self._version, servables=servables, applied=applied
            )

    def _refresh(self) -> None:
        """Draws up the routes anew and swaps them in."""
        with self._lock:
            servables = self.servables()
            models: dict[_Model, list[Servable]] = {}
            for servable in servables:
                models.setdefault((servable.description.tenant, servable.description.model), []).append(servable)
            self._served = {
                servable.description.key: self._served.get(servable.description.key) or Served(servable)
                for servable in servables
                if servable.state is State.READY
            }
            self._applied = {model: applied for model, applied in self._applied.items() if model in models}
            table = {model: self._route(model, held) for model, held in models.items()}
            self._routed = frozenset(
                route.ready[variant].servable.description.key
                for route in table.values()
                if route.split is not None
                for variant in route.split.shares
            )
            self.router.swap(table)
            if not any(servable.state in (State.NEW, State.LOADING) for servable in servables):
                self._settled = True
        self._manager.reconsider()
        self._notify()

    def _route(self, model: _Model, servables: list[Servable]) -> Route[Served]:
        ready: dict[str, Served] = {}
        waiting: set[str] = set()
        candidates: list[Candidate] = []
        for servable in servables:
            description = servable.description
            served = self._served.get(description.key)
            if served is None:
                waiting.add(description.variant)
            else:
                # The desired one stands before a predecessor of the same name.
                ready.setdefault(description.variant, served)
            presence = Presence.ABSENT if served is None else Presence.READY
            if served is None:
                presence = _PRESENCE.get(servable.state, Presence.ABSENT)
            candidates.append(Candidate(description.variant, presence, description.source))
        before = self._applied.get(model)
        shares = choose_shares(candidates, self._wanted.get(model), None if before is None else before.shares)
        if shares is None:
            self._applied.pop(model, None)
            return Route(ready, frozenset(waiting - ready.keys()), None)
        if before is None or before.shares != shares:
            before = self._applied[model] = _Applied(shares, Split(dict(shares.arms), shares.salt))
            _LOG.info("traffic of %s, generation %d: %s", model[1], shares.generation, dict(shares.arms))
        return Route(ready, frozenset(waiting - ready.keys()), before.split, before.draws)


def _shares(table: wire.TrafficTable) -> Shares:
    arms = tuple(sorted((arm.variant, arm.basis_points) for arm in table.arms if arm.basis_points))
    total = sum(points for _, points in arms)
    if total != BUCKETS or any(points < 0 for _, points in arms) or len(dict(arms)) != len(arms):
        raise InvalidArgument(
            f"the arms of {table.model} must be different and their basis points positive and {BUCKETS} in sum: {arms}"
        )
    return Shares(table.generation, arms, table.salt)
