"""Our descriptors against those that clients carry, and all of them in one process, in either order."""

import subprocess
import sys

import pytest

# Runs in a process of its own: what is imported first there is the point.
COMPARE = """
import importlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)

from google.protobuf import descriptor_pool
from service.wire.open_inference import grpc_service_pb2 as ours, model_config_pb2 as our_config
from tritonclient.grpc import model_config_pb2 as their_config, service_pb2 as theirs

assert ours.ModelInferRequest is not theirs.ModelInferRequest

def fields(message):
    return {
        field.number: (
            field.name,
            field.type,
            field.is_repeated,
            field.message_type.full_name if field.message_type else None,
            field.enum_type.full_name if field.enum_type else None,
            field.containing_oneof.name if field.containing_oneof else None,
        )
        for field in message.fields
    }

def same(ours, theirs, whole):
    mine, other = fields(ours), fields(theirs)
    assert (mine == other) if whole else (mine.items() <= other.items()), (ours.full_name, mine, other)
    for name, nested in ours.nested_types_by_name.items():
        same(nested, theirs.nested_types_by_name[name], whole)
    for name, enum in ours.enum_types_by_name.items():
        assert {v.name: v.number for v in enum.values} == {
            v.name: v.number for v in theirs.enum_types_by_name[name].values
        }

files = ((ours.DESCRIPTOR, theirs.DESCRIPTOR, True), (our_config.DESCRIPTOR, their_config.DESCRIPTOR, False))
for mine, other, whole in files:
    assert mine.package == other.package == "inference"
    for name, message in mine.message_types_by_name.items():
        same(message, other.message_types_by_name[name], whole)
    for name, enum in mine.enum_types_by_name.items():
        values = other.enum_types_by_name[name].values
        assert {v.name: v.number for v in enum.values} == {v.name: v.number for v in values}
assert set(ours.DESCRIPTOR.message_types_by_name) == set(theirs.DESCRIPTOR.message_types_by_name)

methods = ours.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods_by_name
their_methods = theirs.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods_by_name
shape = lambda m: (m.input_type.full_name, m.output_type.full_name, m.client_streaming, m.server_streaming)
assert {n: shape(m) for n, m in methods.items()} == {n: shape(m) for n, m in their_methods.items()}
assert len(methods) == 20

message = ours.ModelInferRequest(model_name="m", raw_input_contents=[b"x"])
message.parameters["timeout"].uint64_param = 7
message.inputs.add(name="x", datatype="FP32", shape=[1]).contents.fp32_contents.append(1.5)
assert theirs.ModelInferRequest.FromString(message.SerializeToString()).SerializeToString(deterministic=True) == (
    message.SerializeToString(deterministic=True)
)
print("same")
"""

# kserve and mlserver register the same names in the default pool, each from a file of its own.
CLASH = """
import sys
from google.protobuf import descriptor_pb2, descriptor_pool

def foreign():
    file = descriptor_pb2.FileDescriptorProto(name="grpc_predict_v2.proto", package="inference", syntax="proto3")
    file.message_type.add(name="ServerLiveRequest")
    infer = file.message_type.add(name="ModelInferRequest")
    infer.field.add(name="model_name", number=1, type=9, label=1)
    file.enum_type.add(name="DataType").value.add(name="TYPE_NOTHING", number=0)
    descriptor_pool.Default().AddSerializedFile(file.SerializeToString())

def ours():
    from service.wire.open_inference import grpc_service_pb2
    from service.inference import codec
    assert grpc_service_pb2.ModelInferRequest(model_name="m", id="7").id == "7"

for step in sys.argv[1:]:
    {"foreign": foreign, "ours": ours}[step]()
print("both")
"""


def run(script: str, *arguments: str) -> str:
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


OURS, THEIRS = "service.wire.open_inference.grpc_service_pb2", "tritonclient.grpc"


@pytest.mark.parametrize("order", [(OURS, THEIRS), (THEIRS, OURS)], ids=["ours first", "theirs first"])
def test_our_messages_are_those_that_clients_carry(order) -> None:
    assert run(COMPARE, *order) == "same"


@pytest.mark.parametrize("order", [("ours", "foreign"), ("foreign", "ours")], ids=["ours first", "theirs first"])
def test_another_definition_in_the_default_pool_is_no_trouble(order) -> None:
    assert run(CLASH, *order) == "both"
