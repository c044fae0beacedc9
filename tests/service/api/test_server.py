"""Health and reflection, as load balancers and grpcurl ask for them."""

import stat

import grpc
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from service.control import Control
from service.fleet.fake import FakeEngine
from service.home import Home

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
OWN = [f"stillroom.v1.{name}Service" for name in ("Upload", "Model", "Optimization", "Variant", "Traffic")]
INFERENCE = "inference.GRPCInferenceService"


def test_health_follows_the_engine(channel: grpc.Channel, engine: FakeEngine, control: Control) -> None:
    stub = health_pb2_grpc.HealthStub(channel)

    def check(service: str) -> int:
        return int(stub.Check(health_pb2.HealthCheckRequest(service=service)).status)

    watch = stub.Watch(health_pb2.HealthCheckRequest(service=INFERENCE))
    assert next(watch).status == NOT_SERVING
    assert [check(service) for service in ("", INFERENCE, *OWN)] == [NOT_SERVING, NOT_SERVING, *[SERVING] * 5]
    engine.start()
    assert next(watch).status == SERVING
    assert check("") == SERVING
    engine.stop()
    assert next(watch).status == NOT_SERVING
    watch.cancel()
    with pytest.raises(grpc.RpcError) as failure:
        check("no.such.Service")
    assert failure.value.code() is grpc.StatusCode.NOT_FOUND


@pytest.mark.parametrize("version", ["v1alpha", "v1"])
def test_reflection_describes_every_service(channel: grpc.Channel, version: str) -> None:
    call = channel.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    (listed,) = call(iter([reflection_pb2.ServerReflectionRequest(list_services="")]))
    services = [service.name for service in listed.list_services_response.service]
    assert {*OWN, INFERENCE, "grpc.health.v1.Health", f"grpc.reflection.{version}.ServerReflection"} <= set(services)
    asked = [reflection_pb2.ServerReflectionRequest(file_containing_symbol=service) for service in services]
    for service, answer in zip(services, call(iter(asked)), strict=True):
        files = [FileDescriptorProto.FromString(raw) for raw in answer.file_descriptor_response.file_descriptor_proto]
        defined = {f"{file.package}.{found.name}" for file in files for found in file.service}
        assert service in defined


def test_the_stub_of_reflection_is_answered(channel: grpc.Channel) -> None:
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    request = reflection_pb2.ServerReflectionRequest(file_containing_symbol="inference.ModelInferRequest")
    (answer,) = stub.ServerReflectionInfo(iter([request]))
    assert answer.HasField("file_descriptor_response")


@pytest.mark.usefixtures("control")
def test_only_the_owner_reaches_the_socket(home: Home) -> None:
    assert stat.S_IMODE(home.control_socket.parent.stat().st_mode) == 0o700


def test_streamed_inference_is_refused_with_a_sentence(channel: grpc.Channel) -> None:
    call = channel.stream_stream(f"/{INFERENCE}/ModelStreamInfer")
    with pytest.raises(grpc.RpcError) as failure:
        list(call(iter([b""])))
    assert failure.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert "ModelInfer" in failure.value.details()
