"""Splits of the fake server, by the contract of traffic_service.proto."""

import grpc

from service.client.fake.refusal import not_found
from service.client.fake.state import State
from service.wire.stillroom.v1 import traffic_service_pb2 as traffic_pb2
from service.wire.stillroom.v1.traffic_service_pb2_grpc import TrafficServiceServicer


class Traffic(TrafficServiceServicer):
    """Splits."""

    def __init__(self, state: State) -> None:
        self._state = state

    def GetTraffic(self, request: traffic_pb2.GetTrafficRequest, context: grpc.ServicerContext) -> object:
        traffic = self._state.traffic.get(request.model) or not_found(context, f"split of model {request.model!r}")
        return traffic_pb2.GetTrafficResponse(traffic=traffic)

    def SetTraffic(self, request: traffic_pb2.SetTrafficRequest, context: grpc.ServicerContext) -> object:
        state = self._state
        known = {variant.name: variant for variant in state.variants.get(request.model, [])}
        for arm in request.arms:
            if arm.variant not in known:
                not_found(context, f"variant {arm.variant!r} of model {request.model!r}")
        with state.lock:
            traffic = state.traffic[request.model]
            traffic.generation += 1
            if state.engines_apply:
                traffic.applied_generation = traffic.generation
            traffic.ClearField("arms")
            traffic.arms.extend(request.arms)
            weights = {arm.variant: arm.weight / 100 for arm in request.arms}
            for name, variant in known.items():
                variant.traffic = weights.get(name, 0.0)
        warnings = [f"{arm.variant} was not accepted" for arm in request.arms if not known[arm.variant].accepted]
        return traffic_pb2.SetTrafficResponse(traffic=traffic, warnings=warnings)
