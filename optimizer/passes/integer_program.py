"""An exported program that rounds as integer kernels will: prepared, trained with, and converted by torchao's PT2E."""

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Node
from torchao.quantization.pt2e import disable_fake_quant, disable_observer, enable_fake_quant, enable_observer
from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_qat_pt2e
from torchao.quantization.pt2e.utils import _fuse_conv_bn_

from optimizer.errors import NotApplicable, UnsupportedModel
from optimizer.intake.predictor import Predictor
from optimizer.passes.integer_annotations import OnnxRuntimeQuantizer, specs_of
from optimizer.passes.integer_biases import fix_biases, round_biases, set_bias_rounding
from optimizer.passes.integer_types import IntegerTypes

aten = torch.ops.aten
# Rounding comes between an operation and its input, which must not be overwritten.
_OUT_OF_PLACE = {
    aten.add_.Tensor: aten.add.Tensor,
    aten.mul_.Tensor: aten.mul.Tensor,
    aten.relu_.default: aten.relu.default,
    aten.hardtanh_.default: aten.hardtanh.default,
}
_DROPOUT = (aten.dropout.default, aten.dropout_.default)


class ProgramPredictor(Predictor):
    """An exported program, which has no mode of its own and refuses to be given one."""

    network: GraphModule

    def __init__(self, program: GraphModule) -> None:
        super().__init__(program, (), calling="positional")

    def train(self, mode: bool = True) -> Self:
        """Only remembered."""
        self.training = mode
        return self


class RoundingPredictor(ProgramPredictor):
    """Answers with weights and activations rounded to 8 bits; gradients pass the rounding as if it were not there.

    (Jacob et al., CVPR 2018; the straight-through estimator of Bengio et al., 2013.) In training mode the ranges of
    activations follow the data until `freeze` is called; in evaluation mode they never move.
    """

    def __init__(self, program: GraphModule, weighted: int) -> None:
        super().__init__(program)
        # Convolutions and products that become integer ones.
        self.weighted = weighted
        self._frozen = False

    def train(self, mode: bool = True) -> Self:
        """Switches the observers of ranges."""
        super().train(mode)
        self.network.apply(enable_observer if mode and not self._frozen else disable_observer)
        return self

    def observe(self, tensors: Sequence[Tensor], batch: int = 32) -> None:
        """Sets first ranges from rows answered without rounding."""
        self.train()
        self.network.apply(disable_fake_quant)
        set_bias_rounding(self.network, False)
        with torch.no_grad():
            for start in range(0, len(tensors[0]), batch):
                self(*(tensor[start : start + batch] for tensor in tensors))
        self.network.apply(enable_fake_quant)
        set_bias_rounding(self.network, True)
        self.eval()

    def freeze(self) -> None:
        """Ranges stay as they are from now on."""
        self._frozen = True
        self.network.apply(disable_observer)


def prepared(
    predictor: Predictor, example: tuple[Tensor, ...], free_axes: Any, types: IntegerTypes
) -> RoundingPredictor:
    """`predictor` with batch normalisation folded and rounding put in.

    Raises UnsupportedModel when the network cannot be traced, NotApplicable when it has nothing to quantise.
    """
    try:
        with quiet():
            exported = torch.export.export(predictor.eval(), example, dynamic_shapes=free_axes)
    except (torch._dynamo.exc.TorchDynamoException, RuntimeError, ValueError) as error:
        raise UnsupportedModel(f"the model cannot be exported: {str(error).splitlines()[0][:300]}") from error
    program = exported.module(check_guards=False)
    assert isinstance(program, GraphModule)
    _simplify(program)
    quantizer = OnnxRuntimeQuantizer(specs_of(types))
    with quiet():
        # The statistics are those of a trained network, and stay.
        _fuse_conv_bn_(program)
        program = prepare_qat_pt2e(program, quantizer)
    round_biases(program)
    if quantizer.weighted == 0:
        raise NotApplicable("there is nothing to quantise: the network has no convolution and no linear layer")
    return RoundingPredictor(program, quantizer.weighted)


def converted(predictor: RoundingPredictor) -> ProgramPredictor:
    """The program with integer weights, which answers as `predictor` does in evaluation mode."""
    fix_biases(predictor.network)
    with quiet():
        return ProgramPredictor(convert_pt2e(predictor.network))


def _simplify(program: GraphModule) -> None:
    for node in program.graph.nodes:
        node.target = _OUT_OF_PLACE.get(node.target, node.target)
        if node.target in _DROPOUT:
            node.replace_all_uses_with(node.args[0])
        elif node.target is aten.addmm.default and node.args[2].op == "get_attr":
            _as_linear(program, node)
    program.graph.eliminate_dead_code()
    program.recompile()


def _as_linear(program: GraphModule, node: Node) -> None:
    """`bias + values @ weight`, as GPT-2 multiplies, in the form whose weight has the outputs first."""
    bias, values, weight = node.args
    assert isinstance(weight, Node)
    name = f"{weight.name}_turned"
    if not hasattr(program, name):
        turned = program.get_parameter(str(weight.target)).detach().t().contiguous()
        program.register_parameter(name, nn.Parameter(turned))
    with program.graph.inserting_before(node):
        constant = program.graph.get_attr(name)
    node.target = aten.linear.default
    node.args = (values, constant, bias)


@contextmanager
def quiet() -> Iterator[None]:
    """torch and torchao warn of each other's and their own internals."""
    logger = logging.getLogger("torch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
