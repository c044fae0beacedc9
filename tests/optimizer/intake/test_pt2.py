"""Recorded programs become layers that answer as they were recorded, can be trained, pruned, kept and exported."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from optimizer.errors import InvalidCheckpoint, InvalidDataset, UnsupportedModel
from optimizer.intake import architecture
from optimizer.intake.lift import functions
from optimizer.intake.predictor import predictor_of, tensors_of
from optimizer.passes import export, prune
from optimizer.recipe.export import Export
from optimizer.recipe.prune import PruneStructured


def layers(network: nn.Module) -> dict[str, str]:
    return {name: type(module).__name__ for name, module in network.named_modules() if list(module.parameters(False))}


@pytest.mark.parametrize("name", ["recorded_residual", "recorded_encoder", "recorded_recommender"])
@pytest.mark.parametrize("batch", [1, 7])
def test_the_lifted_network_answers_as_torchs_own_module(name: str, batch: int, request: Any) -> None:
    sample = request.getfixturevalue(name)
    model = sample.load()
    inputs = tuple(tensor[:batch] for tensor in tensors_of(sample.rows, model.inputs))
    names = [spec.name for spec in model.inputs]
    own = torch.export.load(sample.directory / "model.pt2").module()
    with torch.no_grad():
        expected = own(**dict(zip(names, inputs, strict=True)))
        answer = predictor_of(model)(*inputs)
    expected = expected if isinstance(expected, torch.Tensor) else expected.logits
    torch.testing.assert_close(answer, expected, rtol=1e-5, atol=1e-6)


def test_layers_have_the_names_of_their_weights(recorded_residual: Any, recorded_recommender: Any) -> None:
    assert layers(recorded_residual.load().network) == {
        "first": "Conv2d",
        "first_norm": "BatchNorm2d",
        "second": "Conv2d",
        "second_norm": "BatchNorm2d",
        "classifier": "Linear",
    }
    names = {"users", "items", "layers.0", "layers.3", "layers.5"}
    assert layers(recorded_recommender.load().network).keys() == names


def test_nothing_of_an_encoder_stays_a_function_with_weights(recorded_encoder: Any) -> None:
    network = recorded_encoder.load().network
    assert functions(network, frozenset({"linear", "layer_norm", "embedding", "dropout"})) == []
    assert {spec.name for spec in recorded_encoder.load().inputs} == {"input_ids", "attention_mask"}


def test_training_mode_normalises_by_the_batch_and_drops_nothing(recorded_residual: Any) -> None:
    model = recorded_residual.load()
    pictures = tensors_of(recorded_residual.rows, model.inputs)[0][:8]
    before = model.network.get_submodule("first_norm").running_mean.clone()
    first, second = (model.network.train()(pictures) for _ in range(2))
    torch.testing.assert_close(first, second)
    assert not torch.equal(model.network.get_submodule("first_norm").running_mean, before)
    first.sum().backward()
    assert all(parameter.grad is not None for parameter in model.network.parameters())


@pytest.mark.parametrize(
    ("name", "part"), [("recorded_residual", 0.4), ("recorded_encoder", 0.7), ("recorded_recommender", 0.95)]
)
def test_pruned_networks_are_kept_and_exported(
    name: str, part: float, request: Any, context: Any, tmp_path: Any
) -> None:
    sample = request.getfixturevalue(name)
    model = sample.load()
    before = model.parameters
    task = "binary" if name == "recorded_recommender" else "classification"
    pruned = prune.run(PruneStructured(ratio=0.5), model, context(sample, "prune", task=task))
    assert pruned.parameters < part * before
    (tmp_path / "kept").mkdir()
    architecture.save(pruned, tmp_path / "kept", sample.load)
    again = architecture.load(tmp_path / "kept", sample.load)
    inputs = tuple(tensor[:5] for tensor in tensors_of(sample.rows, model.inputs))
    assert torch.equal(predictor_of(pruned)(*inputs), predictor_of(again)(*inputs))
    exported = export.run(Export(), again, context(sample, "export", task=task))
    assert [spec.name for spec in exported.signature.inputs] == [spec.name for spec in model.inputs]
    assert exported.signature.batched


class Flat(nn.Module):
    """Views with a baked batch and width."""

    def __init__(self) -> None:
        super().__init__()
        self.convolution, self.linear = nn.Conv2d(1, 4, 3), nn.Linear(144, 3)

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        hidden = torch.relu(self.convolution(picture))
        return self.linear(hidden.reshape(hidden.shape[0], 144))


PICTURES = {"picture": np.random.default_rng(0).normal(size=(9, 1, 8, 8)).astype(np.float32)}


@pytest.mark.parametrize("rows", [1, 4])
def test_a_fixed_batch_is_freed(record: Any, tmp_path: Any, rows: int) -> None:
    torch.manual_seed(0)
    network = Flat().eval()
    model = record(network, PICTURES, tmp_path, batch=False, rows=rows).load()
    assert model.inputs[0].shape == ("batch", 1, 8, 8)
    pictures = torch.from_numpy(PICTURES["picture"])
    torch.testing.assert_close(model.network(pictures), network(pictures))


def test_a_program_whose_batch_cannot_be_freed_says_so(record: Any, tmp_path: Any) -> None:
    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.offset = nn.Parameter(torch.arange(4.0).reshape(4, 1))
            self.linear = nn.Linear(64, 3)

        def forward(self, picture: torch.Tensor) -> torch.Tensor:
            return self.linear(picture.flatten(1)) + self.offset

    with pytest.raises(UnsupportedModel, match=r"exported at a fixed batch of 4 .* torch\.export\.Dim"):
        record(Fixed().eval(), PICTURES, tmp_path, batch=False, rows=4).load()


def test_rows_that_depend_on_each_other_are_refused(record: Any, tmp_path: Any) -> None:
    class Centred(nn.Module):
        def forward(self, picture: torch.Tensor) -> torch.Tensor:
            flat = picture.flatten(1)
            return flat - flat.mean(0, keepdim=True)

    with pytest.raises(UnsupportedModel, match="answers a row differently among"):
        record(Centred().eval(), PICTURES, tmp_path).load()


def test_a_program_in_training_mode_is_refused(record: Any, tmp_path: Any) -> None:
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2))

    class Whole(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, picture: torch.Tensor) -> torch.Tensor:
            return self.network(picture).mean((2, 3))

    with pytest.raises(InvalidCheckpoint, match=r"model\.eval\(\)"):
        record(Whole().train(), PICTURES, tmp_path).load()


def test_data_without_an_input_is_refused(recorded_recommender: Any) -> None:
    from optimizer.artifact.rows import Rows
    from optimizer.intake import pt2

    rows = recorded_recommender.rows
    with pytest.raises(InvalidDataset, match="lacks the arrays item"):
        pt2.load(recorded_recommender.checkpoint, Rows({"user": rows.arrays["user"]}, rows.labels))


def test_other_memory_layouts_run(recorded_residual: Any) -> None:
    model = recorded_residual.load()
    pictures = tensors_of(recorded_residual.rows, model.inputs)[0][:8]
    expected = model.network(pictures)
    moved = model.network.to(memory_format=torch.channels_last)
    answer = moved(pictures.expand(8, 1, 16, 16).to(memory_format=torch.channels_last))
    torch.testing.assert_close(answer, expected, rtol=1e-4, atol=1e-5)


def test_what_blocks_pruning_is_named(record: Any, tmp_path: Any, context: Any) -> None:
    class Products(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Parameter(torch.randn(64, 8)), nn.Parameter(torch.randn(8, 3))

        def forward(self, picture: torch.Tensor) -> torch.Tensor:
            return torch.relu(picture.flatten(1) @ self.first) @ self.second

    arrays = PICTURES | {"labels": np.arange(9) % 3}
    sample = record(Products().eval(), arrays, tmp_path / "products")
    with pytest.raises(UnsupportedModel, match="these operations keep their weights: matmul"):
        prune.run(PruneStructured(ratio=0.5), sample.load(), context(sample, "prune"))


# torch warns of its own tree specs.
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_decomposed_program_is_lifted_too(recorded_residual: Any, tmp_path: Any) -> None:
    directory = tmp_path / "checkpoint"
    directory.mkdir()
    program = torch.export.load(recorded_residual.directory / "model.pt2").run_decompositions()
    torch.export.save(program, directory / "model.pt2")
    sample = type(recorded_residual)(directory, recorded_residual.data)
    model, whole = sample.load(), recorded_residual.load()
    assert layers(model.network) == layers(whole.network)
    inputs = tuple(tensor[:6] for tensor in tensors_of(sample.rows, model.inputs))
    torch.testing.assert_close(model.network(*inputs), whole.network(*inputs), rtol=1e-4, atol=1e-5)


def test_packed_attention_keeps_its_heads_and_loses_columns(record: Any, tmp_path: Any, context: Any) -> None:
    class Encoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = nn.Embedding(30, 16)
            layer = nn.TransformerEncoderLayer(16, 4, 32, batch_first=True)
            self.layers = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
            self.classifier = nn.Linear(16, 3)

        def forward(self, words: torch.Tensor) -> torch.Tensor:
            return self.classifier(self.layers(self.words(words)).mean(1))

    random = np.random.default_rng(0)
    arrays = {"words": random.integers(0, 30, (40, 7)), "labels": random.integers(0, 3, 40)}
    sample = record(Encoder().eval(), arrays, tmp_path / "encoder")
    passing = context(sample, "prune")
    prune.run(PruneStructured(ratio=0.5), sample.load(), passing)
    assert "32 of 64 feed-forward columns removed" in " ".join(passing.notes)
