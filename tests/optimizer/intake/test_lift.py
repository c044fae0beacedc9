"""Calls of operations become the layers that they were, and their answers stay equal."""

import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from optimizer.intake.lift import functions, lift
from optimizer.intake.lift_layers import MAKERS

aten = torch.ops.aten


def plain(call: object, tensors: dict[str, Tensor], *arguments: object, first: bool = False) -> fx.GraphModule:
    """A graph that calls one operation with an input, weights by name, and further arguments."""
    graph = fx.Graph()
    data = graph.placeholder("x")
    weights = [graph.get_attr(name) for name in tensors]
    given = (*weights, data) if first else (data, *weights)
    graph.output(graph.call_function(call, (*given, *arguments)))
    root = nn.Module()
    for name, tensor in tensors.items():
        root.register_parameter(name, nn.Parameter(tensor))
    return fx.GraphModule(root, graph)


CASES = {
    "linear": (plain(aten.linear.default, {"weight": torch.randn(3, 4), "bias": torch.randn(3)}), (2, 4), nn.Linear),
    "strided": (
        plain(aten.conv2d.default, {"weight": torch.randn(6, 2, 3, 3)}, None, [2, 1], [1, 0], [1, 2], 2),
        (2, 4, 9, 9),
        nn.Conv2d,
    ),
    "same": (
        plain(aten.conv2d.padding, {"weight": torch.randn(6, 2, 3, 3)}, None, [1, 1], "same"),
        (2, 2, 9, 9),
        nn.Conv2d,
    ),
    "sound": (
        plain(aten.conv1d.default, {"weight": torch.randn(6, 2, 3), "bias": torch.randn(6)}, [2]),
        (2, 2, 9),
        nn.Conv1d,
    ),
    "transposed": (
        plain(
            aten.conv_transpose2d.input,
            {"weight": torch.randn(4, 3, 2, 2), "bias": torch.randn(6)},
            [2, 2],
            [0, 0],
            [1, 1],
            2,
        ),
        (1, 4, 5, 5),
        nn.ConvTranspose2d,
    ),
    "grouped": (
        plain(lambda x, w, b: aten.group_norm.default(x, 2, w, b), {"weight": torch.randn(4), "bias": torch.randn(4)}),
        (2, 4, 3, 3),
        None,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_layers_answer_as_their_operations(name: str) -> None:
    graph, shape, kind = CASES[name]
    data = torch.randn(shape)
    lifted = lift(graph)
    torch.testing.assert_close(lifted(data), graph(data), rtol=0, atol=0)
    if kind is not None:
        assert any(isinstance(module, kind) for module in lifted.modules())
        assert functions(lifted, frozenset(MAKERS)) == []


def test_one_weight_called_twice_is_one_layer() -> None:
    graph = fx.Graph()
    data, weight = graph.placeholder("x"), graph.get_attr("weight")
    hidden = graph.call_function(aten.linear.default, (data, weight))
    graph.output(graph.call_function(aten.linear.default, (hidden, weight)))
    root = nn.Module()
    root.weight = nn.Parameter(torch.randn(4, 4))
    lifted = lift(fx.GraphModule(root, graph))
    assert sum(isinstance(module, nn.Linear) for module in lifted.modules()) == 1


def test_a_tied_weight_stays_one_tensor() -> None:
    graph = fx.Graph()
    data, weight = graph.placeholder("x"), graph.get_attr("table.weight")
    hidden = graph.call_function(aten.embedding.default, (weight, data))
    graph.output(graph.call_function(aten.linear.default, (hidden, weight)))
    root = nn.Module()
    root.table = nn.Embedding(7, 4)
    network = fx.GraphModule(root, graph)
    lifted = lift(network)
    assert len(list(lifted.parameters())) == 1
    words = torch.tensor([[1, 2, 6]])
    torch.testing.assert_close(lifted(words), functional.linear(root.table(words), root.table.weight))


def test_weights_that_are_computed_stay_with_their_function() -> None:
    graph = fx.Graph()
    data, weight = graph.placeholder("x"), graph.get_attr("weight")
    doubled = graph.call_function(aten.mul.Tensor, (weight, 2))
    graph.output(graph.call_function(aten.linear.default, (data, doubled)))
    root = nn.Module()
    root.weight = nn.Parameter(torch.randn(3, 4))
    lifted = lift(fx.GraphModule(root, graph))
    assert functions(lifted, frozenset(MAKERS)) == ["linear"]
    data = torch.randn(2, 4)
    torch.testing.assert_close(lifted(data), functional.linear(data, root.weight * 2))


def test_names_depend_on_the_program_alone() -> None:
    graph, _, _ = CASES["strided"]
    assert [name for name, _ in lift(graph).named_parameters()] == [name for name, _ in lift(graph).named_parameters()]
