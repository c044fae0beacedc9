"""Rounds biases while the network learns: integer kernels add them up in units of (input's scale x weight's scale).

Where the channels of a layer differ much in range that unit is coarse, and a bias that was never rounded in training
answers differently once it is an integer. torchao leaves biases in floats.
"""

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node
from torchao.quantization.pt2e import FakeQuantize

from optimizer.passes.integer_annotations import WEIGHTED


class RoundedBias(nn.Module):
    """A bias as integer kernels will see it; gradients pass as if it were not rounded."""

    def __init__(self, values: FakeQuantize, weights: FakeQuantize) -> None:
        super().__init__()
        # In a tuple, since both belong to the program already.
        self._scales = (values, weights)
        self.enabled = False

    def forward(self, bias: Tensor) -> Tensor:
        """`bias` [channels], rounded."""
        if not self.enabled:
            return bias
        return bias + (self.rounded(bias) - bias).detach()

    def rounded(self, bias: Tensor) -> Tensor:
        """The nearest multiples of the unit."""
        unit: Tensor = self._scales[0].scale * self._scales[1].scale
        return torch.round(bias / unit) * unit


def round_biases(program: GraphModule) -> None:
    """Puts a `RoundedBias` before every convolution and product whose input and weights are rounded."""
    modules = dict(program.named_modules())
    for position, node in enumerate(list(program.graph.nodes)):
        if node.target not in WEIGHTED or len(node.args) < 3 or not isinstance(node.args[2], Node):
            continue
        values, weights = (modules.get(str(source.target)) for source in node.args[:2])
        if not isinstance(values, FakeQuantize) or not isinstance(weights, FakeQuantize):
            continue
        name = f"rounded_bias_{position}"
        program.add_module(name, RoundedBias(values, weights))
        with program.graph.inserting_before(node):
            bias = program.graph.call_module(name, (node.args[2],))
        node.update_arg(2, bias)
    program.recompile()


def set_bias_rounding(program: GraphModule, enabled: bool) -> None:
    """Switches all of them."""
    for module in program.modules():
        if isinstance(module, RoundedBias):
            module.enabled = enabled


def fix_biases(program: GraphModule) -> None:
    """Rounds the biases themselves and takes their modules out of the program."""
    modules = dict(program.named_modules())
    for node in list(program.graph.nodes):
        rounding = modules.get(str(node.target)) if node.op == "call_module" else None
        if isinstance(rounding, RoundedBias):
            bias = program.get_parameter(node.args[0].target)
            bias.data = rounding.rounded(bias.data)
            node.replace_all_uses_with(node.args[0])
            program.graph.erase_node(node)
            program.delete_submodule(node.target)
    program.recompile()
