"""Whether a request fits a model's signature: the messages are those that Triton's users know."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from optimizer.artifact.signature import BATCH, Signature, TensorSpec, by_name
from service.errors import InvalidArgument, Unimplemented
from service.inference import codec
from service.types import Array, InferRequest
from service.wire.open_inference import grpc_service_pb2 as wire

# The protocol knows these of Triton's own; all others that start so are reserved.
_ALLOWED_TRITON = frozenset({"triton_enable_empty_final_response"})
_SHARED_MEMORY = "shared_memory_region"


@dataclass(frozen=True, slots=True)
class Parameters:
    """What a request's parameters say to the server."""

    routing_key: str | None
    # The client's patience with the queue; None: no limit.
    timeout_us: int | None


_NO_PARAMETERS = Parameters(None, None)


def read_parameters(parameters: Mapping[str, wire.InferParameter]) -> Parameters:
    """Reads what the server understands; other keys are the client's own. Raises InvalidArgument."""
    if not parameters:
        return _NO_PARAMETERS
    routing_key: str | None = None
    timeout_us: int | None = None
    for key, value in parameters.items():
        if key == "routing_key":
            if value.WhichOneof("parameter_choice") != "string_param":
                raise InvalidArgument("invalid value type for 'routing_key' parameter, expected string_param.")
            routing_key = value.string_param
        elif key == "timeout":
            kind = value.WhichOneof("parameter_choice")
            if kind not in ("int64_param", "uint64_param"):
                raise InvalidArgument("invalid value type for 'timeout' parameter, expected int64_param.")
            given = int(getattr(value, kind))
            if given < 0:
                raise InvalidArgument("the 'timeout' parameter counts microseconds and cannot be negative")
            timeout_us = given or None
        elif key.startswith("triton_") and key not in _ALLOWED_TRITON:
            raise InvalidArgument(f"parameter keys starting with 'triton_' are reserved: '{key}' is not known")
    return Parameters(routing_key, timeout_us)


class Validator:
    """Turns messages into InferRequests for one signature; made once a servable."""

    def __init__(self, model: str, signature: Signature, max_batch: int) -> None:
        """`max_batch`: rows that one request may carry; 0 for a model without a batch axis."""
        self._model = model
        self._signature = signature
        self._inputs = by_name(signature.inputs)
        self._outputs = {spec.name: position for position, spec in enumerate(signature.outputs)}
        self._all_outputs = tuple(range(len(signature.outputs)))
        self._max_batch = max_batch
        # Inputs whose sizes behind the batch axis are all fixed: those sizes, and their product.
        self._fixed = {
            spec.name: (spec.wire_shape[1:], math.prod(spec.wire_shape[1:]))
            for spec in signature.inputs
            if max_batch and min(spec.wire_shape[1:], default=0) >= 0
        }

    def check(self, message: wire.ModelInferRequest) -> InferRequest:
        """Raises InvalidArgument, or Unimplemented for an extension of the protocol that this server lacks."""
        raws = message.raw_input_contents
        tensors = self._by_name(message, len(raws))
        arrays: dict[str, Array] = {}
        axes: dict[str, int] = {}
        raw_position = 0
        for name, tensor in tensors.items():
            spec = self._inputs[name]
            shape = tuple(tensor.shape)
            elements = self._check_shape(tensor, spec, shape, axes)
            if tensor.HasField("contents"):
                if raws:
                    raise InvalidArgument(
                        "contents field must not be specified when using raw_input_contents "
                        f"for '{name}' for model '{self._model}'"
                    )
                arrays[name] = codec.from_contents(tensor.contents, name, spec.datatype, shape, elements, self._model)
            elif raw_position < len(raws):
                arrays[name] = codec.from_raw(raws[raw_position], name, spec.datatype, shape, elements, self._model)
                raw_position += 1
            elif elements == 0 and not raws:
                arrays[name] = codec.from_raw(b"", name, spec.datatype, shape, 0, self._model)
            else:
                raise InvalidArgument(
                    f"unable to find data for input tensor '{name}' for model '{self._model}' in request."
                )
        if raw_position < len(raws):
            raise InvalidArgument(
                f"expected {raw_position} entries in raw_input_contents for model '{self._model}', got {len(raws)}"
            )
        ordered = tuple(arrays[spec.name] for spec in self._signature.inputs)
        if self._max_batch:
            return InferRequest(
                message.id, ordered, len(ordered[0]), tuple(array.shape[1:] for array in ordered), self._wanted(message)
            )
        return InferRequest(message.id, ordered, 1, tuple(array.shape for array in ordered), self._wanted(message))

    def _by_name(
        self, message: wire.ModelInferRequest, raw_count: int
    ) -> dict[str, wire.ModelInferRequest.InferInputTensor]:
        tensors: dict[str, wire.ModelInferRequest.InferInputTensor] = {}
        for tensor in message.inputs:
            if tensor.name in tensors:
                raise InvalidArgument(f"input '{tensor.name}' already exists in request")
            tensors[tensor.name] = tensor
        # A tensor in shared memory has no raw contents.
        if raw_count != len(tensors) and any(_SHARED_MEMORY in tensor.parameters for tensor in tensors.values()):
            raise Unimplemented("shared memory is not offered by this server: send the tensor in the message")
        if len(tensors) != len(self._inputs):
            missing = [name for name in self._inputs if name not in tensors]
            raise InvalidArgument(
                f"expected {len(self._inputs)} inputs but got {len(tensors)} inputs for model '{self._model}'. "
                f"Got input(s) [{_quoted(tensors)}], but missing required input(s) [{_quoted(missing)}]. "
                "Please provide all required input(s)."
            )
        for name in tensors:
            if name not in self._inputs:
                raise InvalidArgument(
                    f"unexpected inference input '{name}' for model '{self._model}': it has [{_quoted(self._inputs)}]"
                )
        return tensors

    def _check_shape(
        self,
        tensor: wire.ModelInferRequest.InferInputTensor,
        spec: TensorSpec,
        shape: tuple[int, ...],
        axes: dict[str, int],
    ) -> int:
        """Checks data type, rank and sizes; `axes` carries the named sizes from input to input. The element count."""
        model = self._model
        if tensor.datatype != spec.datatype:
            raise InvalidArgument(
                f"inference input '{spec.name}' data-type is '{tensor.datatype}', "
                f"but model '{model}' expects '{spec.datatype}'"
            )
        fixed = self._fixed.get(spec.name)
        if fixed is not None and shape[1:] == fixed[0] and shape[:1] > (0,):
            self._check_rows(spec.name, shape[0], axes)
            return shape[0] * fixed[1]
        negative = min(shape, default=0) < 0
        if (
            negative
            or len(shape) != len(spec.shape)
            or any(isinstance(axis, int) and size != axis for size, axis in zip(shape, spec.shape, strict=True))
        ):
            raise InvalidArgument(
                f"unexpected shape for input '{spec.name}' for model '{model}'. "
                f"Expected {_shape(spec.wire_shape)}, got {_shape(shape)}. "
                + ("A request says how large each axis is: no size is negative." if negative else "")
            )
        for size, axis in zip(shape, spec.shape, strict=True):
            if isinstance(axis, str) and not (axis == BATCH and self._max_batch):
                self._check_axis(spec.name, axis, size, axes)
        if self._max_batch:
            self._check_rows(spec.name, shape[0], axes)
        # Python's integers do not overflow, whatever sizes a stranger claims.
        return math.prod(shape)

    def _check_axis(self, name: str, axis: str, size: int, axes: dict[str, int]) -> None:
        limit = self._signature.limits.get(axis, size)
        if size > limit:
            raise InvalidArgument(
                f"axis '{axis}' of input '{name}' for model '{self._model}' has size {size}; at most {limit} is allowed"
            )
        if axes.setdefault(axis, size) != size:
            raise InvalidArgument(
                f"axis '{axis}' of input '{name}' for model '{self._model}' has size {size}, "
                f"but size {axes[axis]} elsewhere in the request"
            )

    def _check_rows(self, name: str, rows: int, axes: dict[str, int]) -> None:
        if rows > self._max_batch:
            raise InvalidArgument(f"inference request batch-size must be <= {self._max_batch} for '{self._model}'")
        if rows < 1:
            raise InvalidArgument(f"inference request batch-size must be >= 1 for '{self._model}'")
        if axes.setdefault(BATCH, rows) != rows:
            raise InvalidArgument(f"input '{name}' batch size does not match other inputs for '{self._model}'")

    def _wanted(self, message: wire.ModelInferRequest) -> tuple[int, ...]:
        if not message.outputs:
            return self._all_outputs
        wanted: list[int] = []
        for output in message.outputs:
            position = self._outputs.get(output.name)
            if position is None:
                raise InvalidArgument(
                    f"unexpected inference output '{output.name}' for model '{self._model}': "
                    f"it has [{_quoted(self._outputs)}]"
                )
            if position in wanted:
                raise InvalidArgument(f"output '{output.name}' already exists in request")
            if _SHARED_MEMORY in output.parameters:
                raise Unimplemented("shared memory is not offered by this server: read the tensor from the message")
            if "classification" in output.parameters:
                raise Unimplemented("the classification extension is not offered by this server: ask for the scores")
            wanted.append(position)
        return tuple(wanted)


def _quoted(names: Iterable[str]) -> str:
    return ",".join(f"'{name}'" for name in names)


def _shape(sizes: tuple[int, ...]) -> str:
    return f"[{','.join(map(str, sizes))}]"
