"""Messages as the protocol's JSON has them."""

import json

from service.http.json_message import as_json
from service.wire.open_inference import grpc_service_pb2, model_config_pb2


def test_metadata_has_numbers_for_shapes_and_empty_lists() -> None:
    message = grpc_service_pb2.ModelMetadataResponse(name="m", platform="onnxruntime_onnx")
    message.inputs.add(name="x", datatype="FP32", shape=[-1, 4])
    found = as_json(message)
    assert found["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 4]}]
    assert (found["versions"], found["outputs"]) == ([], [])
    json.dumps(found)


def test_configs_have_names_for_enums_and_objects_for_maps() -> None:
    config = model_config_pb2.ModelConfig(name="m", max_batch_size=8)
    config.input.add(name="x", data_type=model_config_pb2.TYPE_FP32, dims=[4])
    config.parameters["recipe"].string_value = "int8"
    found = as_json(config)
    assert found["input"][0]["data_type"] == "TYPE_FP32"
    assert found["input"][0]["dims"] == [4]
    assert found["parameters"] == {"recipe": {"string_value": "int8"}}
    assert "dynamic_batching" not in found
    json.dumps(found)
