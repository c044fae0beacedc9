"""A model's signature: the names, types and shapes that all of its variants answer to.

Data types are the names of the Open Inference Protocol ("FP32", "INT64", ...). An axis is a fixed size or a name;
axes of the same name have the same size in one request. The axis "batch" is the one that the server stacks along.
"""

from collections.abc import Iterable
from typing import Literal, Self

import ml_dtypes
import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

BATCH = "batch"

# What the answers of a graph went through last: sigmoid and softmax leave probabilities where else there are scores.
Activation = Literal["none", "sigmoid", "softmax"]

# BYTES is absent on purpose: onnxruntime strings have no fixed size. See `numpy_dtype`.
_NUMPY: dict[str, np.dtype] = {
    "BOOL": np.dtype(np.bool_),
    "UINT8": np.dtype(np.uint8),
    "UINT16": np.dtype(np.uint16),
    "UINT32": np.dtype(np.uint32),
    "UINT64": np.dtype(np.uint64),
    "INT8": np.dtype(np.int8),
    "INT16": np.dtype(np.int16),
    "INT32": np.dtype(np.int32),
    "INT64": np.dtype(np.int64),
    "FP16": np.dtype(np.float16),
    "FP32": np.dtype(np.float32),
    "FP64": np.dtype(np.float64),
    "BF16": np.dtype(ml_dtypes.bfloat16),
}
_OIP: dict[np.dtype, str] = {dtype: name for name, dtype in _NUMPY.items()} | {np.dtype(object): "BYTES"}

DATATYPES = (*_NUMPY, "BYTES")


def numpy_dtype(datatype: str) -> np.dtype:
    """The numpy type of a protocol data type; BYTES is `object` (elements are `bytes`)."""
    return np.dtype(object) if datatype == "BYTES" else _NUMPY[datatype]


def datatype_of(dtype: np.dtype) -> str:
    """The protocol's name of a numpy type. Raises KeyError for a type that the protocol does not have."""
    return _OIP[dtype]


class TensorSpec(BaseModel):
    """Name, data type and shape of one input or output."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    datatype: str
    shape: tuple[int | str, ...]

    @property
    def wire_shape(self) -> tuple[int, ...]:
        """The shape with -1 for every named axis, as ModelMetadata shows it."""
        return tuple(-1 if isinstance(axis, str) else axis for axis in self.shape)

    @property
    def batched(self) -> bool:
        """Whether the first axis is the batch."""
        return self.shape[:1] == (BATCH,)


class Signature(BaseModel):
    """Inputs and outputs, in the graph's order."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    inputs: tuple[TensorSpec, ...] = Field(min_length=1)
    outputs: tuple[TensorSpec, ...] = Field(min_length=1)
    # Largest allowed size of a named axis other than the batch ("sequence": 512).
    limits: dict[str, int] = Field(default_factory=dict)
    # Of the output that scores are read from. No part of what clients are promised: see `promises`.
    activation: Activation = "none"

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        for side, specs in (("input", self.inputs), ("output", self.outputs)):
            names = [spec.name for spec in specs]
            if len(set(names)) != len(names):
                raise ValueError(f"{side} names repeat: {names}")
        return self

    def promises(self, other: "Signature") -> bool:
        """Whether requests to one are requests to the other, and answers look alike."""
        return self == other.model_copy(update={"activation": self.activation})

    @property
    def batched(self) -> bool:
        """Whether requests can be stacked: every input and every output has the batch as its first axis."""
        return all(spec.batched for spec in (*self.inputs, *self.outputs))


def by_name(specs: Iterable[TensorSpec]) -> dict[str, TensorSpec]:
    """The specs, found by name."""
    return {spec.name: spec for spec in specs}
