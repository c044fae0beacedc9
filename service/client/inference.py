"""The Open Inference Protocol from the asking side: arrays in, arrays and the answering variant out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from service.client import resources, tensors
from service.errors import ServiceError
from service.wire.open_inference import grpc_service_pb2 as pb2

# The request parameter whose value keeps a caller on one side of a split.
ROUTING_KEY = "routing_key"

Parameter = bool | int | float | str


@dataclass(frozen=True)
class Inference:
    """An answer: who gave it (`version` is the variant), what, and what it says beside (timings, say)."""

    model: str
    version: str
    request_id: str
    outputs: dict[str, tensors.Array]
    # Protocol data type of each output.
    datatypes: dict[str, str]
    parameters: dict[str, Parameter]


def request(
    model: str,
    inputs: Mapping[str, tensors.Array],
    version: str = "",
    key: str = "",
    outputs: Sequence[str] = (),
    request_id: str = "",
) -> pb2.ModelInferRequest:
    """A request with raw tensors. Raises InvalidArgument for an array that the protocol cannot carry."""
    message = pb2.ModelInferRequest(
        model_name=model,
        model_version=version,
        id=request_id,
        inputs=[
            pb2.ModelInferRequest.InferInputTensor(
                name=name, datatype=tensors.datatype_of(array), shape=list(array.shape)
            )
            for name, array in inputs.items()
        ],
        outputs=[pb2.ModelInferRequest.InferRequestedOutputTensor(name=name) for name in outputs],
        raw_input_contents=[tensors.to_raw(array) for array in inputs.values()],
    )
    if key:
        message.parameters[ROUTING_KEY].string_param = key
    return message


def answer(message: pb2.ModelInferResponse) -> Inference:
    """What a response says. Raises ServiceError for one that contradicts itself."""
    if len(message.raw_output_contents) != len(message.outputs):
        raise ServiceError(
            f"the server announced {len(message.outputs)} outputs and sent bytes of {len(message.raw_output_contents)}"
        )
    return Inference(
        model=message.model_name,
        version=message.model_version,
        request_id=message.id,
        outputs={
            output.name: tensors.from_raw(raw, output.datatype, tuple(output.shape))
            for output, raw in zip(message.outputs, message.raw_output_contents, strict=True)
        },
        datatypes={output.name: output.datatype for output in message.outputs},
        parameters={
            name: getattr(value, field)
            for name, value in message.parameters.items()
            if (field := value.WhichOneof("parameter_choice")) is not None
        },
    )


def signature(message: pb2.ModelMetadataResponse) -> resources.Signature:
    """A model's metadata."""
    sides = [
        tuple(resources.TensorSpec(spec.name, spec.datatype, tuple(spec.shape)) for spec in side)
        for side in (message.inputs, message.outputs)
    ]
    return resources.Signature(message.name, tuple(message.versions), *sides)
