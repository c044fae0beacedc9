"""Products with weights in 8 or 4 bits, and tables in as many: onnxruntime's MatMulNBits and GatherBlockQuantized."""

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper
from onnxruntime.quantization.matmul_nbits_quantizer import DefaultWeightOnlyQuantConfig, MatMulNBitsQuantizer

from optimizer.passes.lookup_tables import Replaced, replace_lookups, round_tables

# It tells of every node.
logging.getLogger(MatMulNBitsQuantizer.__module__).setLevel(logging.WARNING)

# Products of 8-bit weights are computed in integers from activations that are rounded on the way: twice as fast as in
# float, and hardly less exact. 4-bit weights have kernels of their own for float.
_LEVELS = {8: 4, 4: 0}
# What the smallest of 16 whole numbers stands for, and the number that stands for zero.
_LOWEST, _ZERO = -8, 8
_MICROSOFT = "com.microsoft"


@dataclass(frozen=True)
class WeightBits:
    """Makes graphs of one, with the weights of any nodes in so many bits."""

    proto: onnx.ModelProto
    # By the node's name.
    bits: Mapping[str, int]
    block_size: int

    def __call__(self, integer: Collection[str]) -> onnx.ModelProto:
        """The graph with the weights of these nodes in integers."""
        proto = onnx.ModelProto()
        proto.CopyFrom(self.proto)
        tables = {node.name: node.input[0] for node in proto.graph.node if node.op_type == "Gather"}
        # Two 4-bit numbers share a byte.
        odd = {tensor.name for tensor in proto.graph.initializer if tensor.dims and tensor.dims[-1] % 2}
        narrow = {name for name in integer if self.bits[name] == 4 and tables.get(name) not in odd}
        for bits, chosen in ((8, set(integer) - narrow), (4, narrow)):
            if bits == 8:
                round_tables(proto, chosen & tables.keys())
            else:
                replace_lookups(proto, chosen & tables.keys(), self._nibbles)
            proto = self._products(proto, chosen - tables.keys(), bits)
        _once(proto)
        return proto

    def _products(self, proto: onnx.ModelProto, names: Collection[str], bits: int) -> onnx.ModelProto:
        if not names:
            return proto
        config = DefaultWeightOnlyQuantConfig(
            block_size=self.block_size, is_symmetric=True, accuracy_level=_LEVELS[bits], bits=bits
        )
        others = [node.name for node in proto.graph.node if node.name not in names]
        quantiser = MatMulNBitsQuantizer(proto, nodes_to_exclude=others, algo_config=config)
        quantiser.process()
        result: onnx.ModelProto = quantiser.model.model
        return result

    def _nibbles(self, node: onnx.NodeProto, table: NDArray[np.float32]) -> Replaced:
        name, indices = node.input
        packed, scales = round_blocks(table, self.block_size)
        reader = helper.make_node(
            "GatherBlockQuantized",
            [f"{name}_nibbles", indices, f"{name}_nibble_scales"],
            [node.output[0]],
            node.name,
            domain=_MICROSOFT,
            gather_axis=0,
            quantize_axis=1,
            block_size=self.block_size,
            bits=4,
        )
        return [reader], {f"{name}_nibbles": packed, f"{name}_nibble_scales": scales}


def round_blocks(table: NDArray[np.float32], size: int) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """The table [rows, width] in 4 bits, two a byte [rows, width / 2], and units [rows, blocks] of `size` columns.

    The unit is such that the block's largest number, whatever its sign, is met exactly.
    """
    rows, width = table.shape
    blocks = -(-width // size)
    padded = np.pad(table, ((0, 0), (0, blocks * size - width))).reshape(rows, blocks, size)
    largest = np.take_along_axis(padded, np.abs(padded).argmax(axis=2)[..., None], axis=2)
    units = (largest / _LOWEST).astype(np.float32)
    units = np.where(units != 0, units, np.float32(1))
    whole = (np.rint(padded / units).clip(_LOWEST, -_LOWEST - 1) + _ZERO).astype(np.uint8)
    whole = whole.reshape(rows, -1)[:, :width]
    return whole[:, 0::2] | (whole[:, 1::2] << 4), units[..., 0]


def _once(proto: onnx.ModelProto) -> None:
    """Two products with one matrix were given it twice; each is kept once."""
    if not any(entry.domain == _MICROSOFT for entry in proto.opset_import):
        proto.opset_import.append(helper.make_opsetid(_MICROSOFT, 1))
    kept = {tensor.name: tensor for tensor in proto.graph.initializer}
    if len(kept) < len(proto.graph.initializer):
        copies = [onnx.TensorProto.FromString(tensor.SerializeToString()) for tensor in kept.values()]
        del proto.graph.initializer[:]
        proto.graph.initializer.extend(copies)
