"""TrafficService: which variant answers which share of a model's requests."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from optimizer.artifact.manifest import Verdict
from service.api.caller import actor_of, tenant_of
from service.api.weights import WHOLE, basis_points
from service.errors import FailedPrecondition, InvalidArgument
from service.fleet.board import Board, Serving
from service.fleet.shares import present_shares
from service.registry import tables
from service.registry.models import ModelRecords
from service.registry.variants import VariantRecords
from service.wire.stillroom.v1 import traffic_service_pb2 as wire
from service.wire.stillroom.v1 import traffic_service_pb2_grpc as wire_grpc

_DEFAULT_WAIT_SECONDS = 10.0
_LONGEST_WAIT_SECONDS = 300.0
_MAX_ARMS = 50
_MAX_REASON = 500


class TrafficServicer(wire_grpc.TrafficServiceServicer):
    """Writes generations, and waits for the engines to follow."""

    def __init__(self, models: ModelRecords, variants: VariantRecords, board: Board, wake: Callable[[], None]) -> None:
        """`wake` tells the fleet that the registry has changed."""
        self._models = models
        self._variants = variants
        self._board = board
        self._wake = wake

    def GetTraffic(self, request: wire.GetTrafficRequest, context: Any) -> wire.GetTrafficResponse:
        """See traffic_service.proto."""
        tenant = tenant_of(context)
        model = self._models.get(tenant, request.model)
        row = self._variants.traffic(tenant, model.name)
        if row is not None:
            return wire.GetTrafficResponse(traffic=self._message(tenant, model.name, row))
        sources = [
            (variant.checkpoint.revision, variant.id, variant.name)
            for variant in self._variants.list(tenant, model.name)
            if variant.verdict == Verdict.SOURCE
        ]
        shares = present_shares(
            None,
            [name for _, _, name in sorted(sources)],
            lambda name: self._board.standing(tenant, model.name, name).serving,
        )
        arms = [wire.Arm(variant=variant, weight=share * 100) for variant, share in shares.items()]
        return wire.GetTrafficResponse(traffic=wire.Traffic(model=model.name, arms=arms))

    def SetTraffic(self, request: wire.SetTrafficRequest, context: Any) -> wire.SetTrafficResponse:
        """See traffic_service.proto."""
        tenant = tenant_of(context)
        wait_seconds = _checked_wait(request.wait_seconds)
        if len(request.reason) > _MAX_REASON:
            raise InvalidArgument(f"reason may have at most {_MAX_REASON} characters")
        points = basis_points(_weights(request))
        model = self._models.get(tenant, request.model)
        rows = {name: self._variants.get(tenant, model.name, name) for name in points}
        for name in points:
            standing = self._board.standing(tenant, model.name, name)
            if standing.serving is Serving.UNAVAILABLE:
                raise FailedPrecondition(f"{name} cannot be loaded: {standing.reason}")
        arms = [{"variant": name, "basis_points": share} for name, share in points.items()]
        split = self._variants.set_traffic(tenant, model, arms, actor_of(context), request.reason)
        self._wake()
        self._board.wait_for(lambda: self._is_settled(tenant, model.name, split), wait_seconds)
        return wire.SetTrafficResponse(
            traffic=self._message(tenant, model.name, split),
            warnings=[*_unaccepted(rows), *self._unserved(tenant, model.name, split)],
        )

    def _is_settled(self, tenant: str, model: str, split: tables.Traffic) -> bool:
        """Applied everywhere, or never to be, since an arm cannot be loaded."""
        return self._board.applied(tenant, model) >= split.generation or any(
            self._board.standing(tenant, model, arm["variant"]).serving is Serving.UNAVAILABLE for arm in split.arms
        )

    def _unserved(self, tenant: str, model: str, split: tables.Traffic) -> list[str]:
        if self._board.applied(tenant, model) >= split.generation:
            return []
        if not self._board.all_connected():
            return [f"generation {split.generation} is recorded; it will be applied when the engine is back"]
        found = {arm["variant"]: self._board.standing(tenant, model, arm["variant"]) for arm in split.arms}
        failed = [
            f"{name} cannot be loaded: {at.reason}" for name, at in found.items() if at.serving is Serving.UNAVAILABLE
        ]
        if failed:
            return [*failed, f"generation {split.generation} is recorded, but traffic stays as it was"]
        loading = ", ".join(name for name, at in found.items() if at.serving is Serving.LOADING) or "the change"
        return [f"generation {split.generation} is recorded, and not applied yet: waiting for {loading}"]

    def _message(self, tenant: str, model: str, row: tables.Traffic) -> wire.Traffic:
        message = wire.Traffic(
            model=model,
            generation=row.generation,
            arms=[wire.Arm(variant=arm["variant"], weight=arm["basis_points"] * 100 / WHOLE) for arm in row.arms],
            applied_generation=self._board.applied(tenant, model),
        )
        message.create_time.FromDatetime(row.created_at)
        return message


def _weights(request: wire.SetTrafficRequest) -> dict[str, float]:
    weights = {arm.variant: arm.weight for arm in request.arms}
    if len(weights) < len(request.arms):
        raise InvalidArgument("a variant may stand in a split only once")
    if len(weights) > _MAX_ARMS:
        raise InvalidArgument(f"a split may have at most {_MAX_ARMS} variants")
    return weights


def _checked_wait(wait_seconds: float) -> float:
    if not math.isfinite(wait_seconds) or not 0 <= wait_seconds <= _LONGEST_WAIT_SECONDS:
        raise InvalidArgument(f"wait_seconds is {wait_seconds:g}; allowed are 0 to {_LONGEST_WAIT_SECONDS:g}")
    return wait_seconds or _DEFAULT_WAIT_SECONDS


def _unaccepted(rows: Mapping[str, tables.Variant]) -> list[str]:
    return [
        f"{name} was not accepted ({(row.manifest['reason'] or row.verdict).rstrip('.')}); "
        "it is loaded because this split names it"
        for name, row in rows.items()
        if not row.accepted
    ]
