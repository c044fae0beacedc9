"""Server reflection, so that grpcurl and its like need no .proto file."""

from collections.abc import Iterable

import grpc
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc

_ALPHA, _V1 = "grpc.reflection.v1alpha", "grpc.reflection.v1"


def merged_pool(files: Iterable[FileDescriptor]) -> DescriptorPool:
    """One pool that holds these files and all that they import, whatever pools they come from."""
    pool = DescriptorPool()
    added: set[str] = set()

    def add(file: FileDescriptor) -> None:
        if file.name in added:
            return
        added.add(file.name)
        for dependency in file.dependencies:
            add(dependency)
        proto = descriptor_pb2.FileDescriptorProto()
        file.CopyToProto(proto)
        pool.Add(proto)

    for file in files:
        add(file)
    return pool


def _reflection_v1() -> descriptor_pb2.FileDescriptorProto:
    """The description of the protocol's second version: that of the first under its new name."""
    proto = descriptor_pb2.FileDescriptorProto()
    reflection_pb2.DESCRIPTOR.CopyToProto(proto)
    proto.name = proto.name.replace("v1alpha", "v1")
    proto.package = _V1
    for message in proto.message_type:
        for field in message.field:
            if field.type_name:
                field.type_name = field.type_name.replace(_ALPHA, _V1)
    for method in proto.service[0].method:
        method.input_type = method.input_type.replace(_ALPHA, _V1)
        method.output_type = method.output_type.replace(_ALPHA, _V1)
    return proto


def add_reflection(server: grpc.Server, services: Iterable[str], files: Iterable[FileDescriptor]) -> None:
    """Serves both versions of the protocol, which are the same on the wire; `files` describe the `services`."""
    pool = merged_pool([*files, reflection_pb2.DESCRIPTOR])
    pool.Add(_reflection_v1())
    second = f"{_V1}.ServerReflection"
    servicer = reflection.ReflectionServicer([*services, reflection.SERVICE_NAME, second], pool=pool)
    reflection_pb2_grpc.add_ServerReflectionServicer_to_server(servicer, server)
    handler = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(second, {"ServerReflectionInfo": handler}),))
