"""Tiny real checkpoints, their data and their exports, made once a session."""

import os
import warnings

# Before anything imports the library: tests never ask a hub.
os.environ["HF_HUB_OFFLINE"] = "1"

import itertools
import json
import logging
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
import transformers
from transformers.utils import logging as transformers_logging

from optimizer.artifact import dataset
from optimizer.artifact.hardware import fingerprint
from optimizer.artifact.inspection import inspect_checkpoint
from optimizer.artifact.rows import Rows
from optimizer.artifact.session import SessionSpec
from optimizer.intake import hf, pt2, state_dict
from optimizer.intake.predictor import predictor_of, tensors_of
from optimizer.intake.stages import Checkpoint, OnnxModel, TorchModel
from optimizer.passes import export
from optimizer.passes.context import Context, References, Splits
from optimizer.recipe.export import Export
from optimizer.train.loop import fit
from optimizer.train.losses import cross_entropy
from optimizer.train.selection import Selection
from optimizer.train.settings import Settings

_CLASSES = 4


@dataclass(frozen=True)
class Sample:
    """A checkpoint on disk with a data file that fits it."""

    directory: Path
    data: Path

    @property
    def checkpoint(self) -> Checkpoint:
        files = {path.name: path for path in self.directory.iterdir()}
        return Checkpoint(files, inspect_checkpoint(files))

    @property
    def rows(self) -> Rows:
        return dataset.read(self.data, self.data.name)

    def load(self) -> TorchModel:
        """The checkpoint's network, opened anew."""
        return hf.load(self.checkpoint, self.rows)


class Recorded(Sample):
    """A torch.export archive with a data file that fits it."""

    def load(self) -> TorchModel:
        """The program as layers, opened anew."""
        return pt2.load(self.checkpoint, self.rows)


def recorded(
    network: torch.nn.Module, arrays: dict[str, np.ndarray], root: Path, *, batch: bool = True, rows: int = 2
) -> Recorded:
    """Exports `network`, which takes `arrays` but the labels, with a free batch or one of `rows`."""
    (root / "checkpoint").mkdir(parents=True, exist_ok=True)
    np.savez(root / "rows.npz", **arrays)
    inputs = {name: torch.from_numpy(array[:rows].copy()) for name, array in arrays.items() if name != "labels"}
    free = {name: {0: torch.export.Dim("batch")} for name in inputs} if batch else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(network, (), inputs, dynamic_shapes=free)
        torch.export.save(program, root / "checkpoint" / "model.pt2")
    return Recorded(root / "checkpoint", root / "rows.npz")


class Residual(torch.nn.Module):
    """A plain network with a residual connection, a flattened view and dropout."""

    def __init__(self) -> None:
        super().__init__()
        nn = torch.nn
        self.first, self.first_norm = nn.Conv2d(1, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.second, self.second_norm = nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.dropout, self.classifier = nn.Dropout(0.1), nn.Linear(16 * 16, _CLASSES)

    def forward(self, picture: torch.Tensor) -> torch.Tensor:
        """Class scores [b, 4]."""
        hidden = torch.relu(self.first_norm(self.first(picture)))
        hidden = torch.relu(hidden + self.second_norm(self.second(hidden)))
        hidden = torch.nn.functional.avg_pool2d(hidden, 4)
        return self.classifier(self.dropout(hidden.view(hidden.size(0), 256)))


class Recommender(torch.nn.Module):
    """Two lookups and three layers."""

    def __init__(self) -> None:
        super().__init__()
        nn = torch.nn
        self.users, self.items = nn.Embedding(50, 8), nn.Embedding(60, 8)
        self.layers = nn.Sequential(
            nn.Linear(16, 32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 16), nn.ReLU(), nn.Linear(16, 1)
        )

    def forward(self, user: torch.Tensor, item: torch.Tensor) -> torch.Tensor:
        """One score a pair [b, 1]."""
        return self.layers(torch.cat([self.users(user), self.items(item)], -1))


@pytest.fixture(scope="session")
def recorded_residual(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """A trained plain network, exported with a free batch; 400 pictures."""
    torch.manual_seed(0)
    arrays = _pictures(400, seed=1)
    arrays["picture"] = arrays.pop("pixel_values")
    network = Residual()
    optimizer = torch.optim.Adam(network.parameters(), 5e-3)
    pixels, labels = torch.from_numpy(arrays["picture"]), torch.from_numpy(arrays["labels"])
    for start in [*range(0, 400, 50)] * 3:
        optimizer.zero_grad()
        batch = slice(start, start + 50)
        torch.nn.functional.cross_entropy(network(pixels[batch]), labels[batch]).backward()
        optimizer.step()
    return recorded(network.eval(), arrays, tmp_path_factory.mktemp("recorded-residual"))


@pytest.fixture(scope="session")
def recorded_encoder(bert: Sample, tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """The trained encoder, exported with a free batch."""
    return recorded(bert.load().network, _texts(400, seed=1), tmp_path_factory.mktemp("recorded-encoder"))


@pytest.fixture(scope="session")
def recorded_recommender(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    """An untrained recommender, exported with a free batch; 60 pairs."""
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    arrays = {name: random.integers(0, 50, 60) for name in ("user", "item")} | {"labels": random.integers(0, 2, 60)}
    return recorded(Recommender().eval(), arrays, tmp_path_factory.mktemp("recorded-recommender"))


@pytest.fixture(scope="session")
def record() -> Callable[..., Recorded]:
    """`recorded`."""
    return recorded


@pytest.fixture(autouse=True, scope="session")
def _quiet_libraries() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    yield
    torch.set_num_threads(threads)


def _pictures(rows: int, seed: int) -> dict[str, np.ndarray]:
    """One bright quarter a class, in noise."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, _CLASSES, rows)
    pixels = random.normal(0, 0.5, (rows, 1, 16, 16)).astype(np.float32)
    for row, label in enumerate(labels):
        down, right = 8 * (label // 2), 8 * (label % 2)
        pixels[row, 0, down : down + 8, right : right + 8] += 1
    return {"pixel_values": pixels, "labels": labels.astype(np.int64)}


def _texts(rows: int, seed: int) -> dict[str, np.ndarray]:
    """The class is the one of four words that occurs; the rest is noise and padding."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, _CLASSES, rows)
    words = random.integers(10, 40, (rows, 12))
    mask = np.ones((rows, 12), np.int64)
    for row, label in enumerate(labels):
        words[row, random.integers(0, 6)] = 1 + label
        mask[row, random.integers(6, 13) :] = 0
    return {"input_ids": words.astype(np.int64), "attention_mask": mask, "labels": labels.astype(np.int64)}


def _trained(
    network: transformers.PreTrainedModel, arrays: dict[str, np.ndarray], root: Path, epochs: float, rate: float
) -> Sample:
    (root / "checkpoint").mkdir(parents=True)
    network.save_pretrained(root / "checkpoint")
    np.savez(root / "rows.npz", **arrays)
    sample = Sample(root / "checkpoint", root / "rows.npz")
    if epochs:
        model = sample.load()
        inputs, labels = tensors_of(sample.rows, model.inputs), torch.from_numpy(arrays["labels"])
        settings = Settings(epochs, rate, 32, 0.01, 0.1, seed=0, threads=1)
        some = Selection(tuple(tensor[:100] for tensor in inputs), labels[:100])
        done = fit(predictor_of(model), inputs, cross_entropy(labels), some, settings, lambda *_: None)
        assert done.score > 0.9
        network.load_state_dict(model.network.state_dict())
        network.save_pretrained(root / "checkpoint")
    return sample


@pytest.fixture(scope="session")
def resnet(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    """A trained residual network with three stages; 400 pictures."""
    torch.manual_seed(0)
    config = transformers.ResNetConfig(
        num_channels=1, embedding_size=32, hidden_sizes=[32, 64], depths=[1, 2], layer_type="basic", num_labels=_CLASSES
    )
    network = transformers.ResNetForImageClassification(config)
    return _trained(network, _pictures(400, seed=1), tmp_path_factory.mktemp("resnet"), 3, 2e-3)


@pytest.fixture(scope="session")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    """A trained encoder of two layers with four heads; 400 texts."""
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=40, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
        max_position_embeddings=16, num_labels=_CLASSES,
    )  # fmt: skip
    network = transformers.BertForSequenceClassification(config)
    return _trained(network, _texts(400, seed=1), tmp_path_factory.mktemp("bert"), 8, 3e-3)


@pytest.fixture(scope="session")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    """An untrained vision transformer of two layers with four heads; 40 pictures."""
    torch.manual_seed(0)
    config = transformers.ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64, image_size=16, patch_size=4,
        num_channels=1, num_labels=_CLASSES,
    )  # fmt: skip
    network = transformers.ViTForImageClassification(config)
    return _trained(network, _pictures(40, seed=2), tmp_path_factory.mktemp("vit"), 0, 0)


@pytest.fixture(scope="session")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Sample:
    """A trained network of depthwise-separable convolutions, as in keyword spotters, that 8 bits do not hold.

    Channels of one layer have ranges up to 256 times apart, which changes none of its answers in floats; 400 pictures.
    """
    torch.manual_seed(0)
    config = transformers.MobileNetV1Config(
        num_channels=1, image_size=16, depth_multiplier=0.25, min_depth=8, hidden_act="relu", tf_padding=False,
        num_labels=_CLASSES, classifier_dropout_prob=0.0,
    )  # fmt: skip
    network = transformers.MobileNetV1ForImageClassification(config)
    root = tmp_path_factory.mktemp("uneven")
    sample = _trained(network, _pictures(400, seed=1), root, 8, 3e-3)
    layers = [module for module in network.modules() if type(module).__name__ == "MobileNetV1ConvLayer"]
    with torch.no_grad():
        for layer, following in itertools.pairwise(layers):
            scale = torch.exp2(8 * torch.rand(layer.convolution.out_channels) - 4)
            layer.normalization.weight *= scale
            layer.normalization.bias *= scale
            depthwise = following.convolution.groups > 1
            following.convolution.weight /= scale.reshape(-1, 1, 1, 1) if depthwise else scale.reshape(1, -1, 1, 1)
    network.save_pretrained(root / "checkpoint")
    return sample


def context_for(sample: Sample, directory: Path, **changes: object) -> Context:
    """A pass's context on a sample's rows: 70% to train, 10% to calibrate, 20% to select."""
    directory.mkdir(parents=True, exist_ok=True)
    rows = sample.rows
    cuts = np.split(np.arange(len(rows)), [int(0.7 * len(rows)), int(0.8 * len(rows))])
    values: dict[str, object] = {
        "task": "classification",
        "splits": Splits(*(rows.take(cut) for cut in cuts)),
        "references": References(sample.load),
        "hardware": fingerprint(),
        "session": SessionSpec(),
        "seed": 0,
        "threads": 1,
        "directory": directory,
    }
    return Context(**(values | changes))  # type: ignore[arg-type]


ContextFor = Callable[..., Context]


@pytest.fixture
def context(tmp_path: Path) -> ContextFor:
    """A function that makes the context of a pass on a sample."""
    return lambda sample, directory="pass", **changes: context_for(sample, tmp_path / directory, **changes)


def _exported(sample: Sample, root: Path) -> OnnxModel:
    return export.run(Export(), sample.load(), context_for(sample, root))


@pytest.fixture(scope="session")
def resnet_onnx(resnet: Sample, tmp_path_factory: pytest.TempPathFactory) -> OnnxModel:
    """The residual network, exported."""
    return _exported(resnet, tmp_path_factory.mktemp("resnet-onnx"))


@pytest.fixture(scope="session")
def bert_onnx(bert: Sample, tmp_path_factory: pytest.TempPathFactory) -> OnnxModel:
    """The encoder, exported."""
    return _exported(bert, tmp_path_factory.mktemp("bert-onnx"))


@pytest.fixture(scope="session")
def vit_onnx(vit: Sample, tmp_path_factory: pytest.TempPathFactory) -> OnnxModel:
    """The vision transformer, exported."""
    return _exported(vit, tmp_path_factory.mktemp("vit-onnx"))


class Named(Sample):
    """A state dict and the name of its architecture, with a data file that fits it."""

    def load(self) -> TorchModel:
        """The named network, opened anew."""
        return state_dict.load(self.checkpoint, self.rows)


@pytest.fixture(scope="session")
def named_residual(recorded_residual: Recorded, tmp_path_factory: pytest.TempPathFactory) -> Named:
    """The recorded network's weights, with the entry point "residual" (fixture `installed`) as its architecture."""
    root = tmp_path_factory.mktemp("named-residual")
    (root / "checkpoint").mkdir()
    network = Residual()
    weights = torch.export.load(recorded_residual.directory / "model.pt2").state_dict
    network.load_state_dict(weights)
    safetensors.torch.save_model(network, str(root / "checkpoint" / "model.safetensors"))
    architecture = {
        "library": "entry_point",
        "name": "residual",
        "arguments": {"classes": 4},
        "inputs": [{"name": "picture", "datatype": "FP32", "shape": ["batch", 1, 16, 16]}],
    }
    (root / "checkpoint" / "architecture.json").write_text(json.dumps(architecture))
    return Named(root / "checkpoint", recorded_residual.data)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A distribution with entry points that make networks, installed for one test."""
    root = tmp_path / "installed"
    metadata = root / "house_networks-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: house-networks\nVersion: 1.0\n")
    names = ("residual", "not_a_network", "mixes_rows", "answers_a_dict")
    points = [f"{name} = house_networks:{name}" for name in (*names, "gone")]
    (metadata / "entry_points.txt").write_text("\n".join(["[stillroom.architectures]", *points, ""]))
    (root / "house_networks.py").write_text(_HOUSE_NETWORKS)
    monkeypatch.syspath_prepend(str(root))
    monkeypatch.delitem(sys.modules, "house_networks", raising=False)
    return root


_HOUSE_NETWORKS = """
import torch
from torch import nn


class Residual(nn.Module):
    def __init__(self, classes, width=16):
        super().__init__()
        self.first, self.first_norm = nn.Conv2d(1, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        self.second, self.second_norm = nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width)
        self.classifier = nn.Linear(16 * width, classes)

    def forward(self, picture):
        hidden = torch.relu(self.first_norm(self.first(picture)))
        hidden = torch.relu(hidden + self.second_norm(self.second(hidden)))
        return self.classifier(nn.functional.avg_pool2d(hidden, 4).flatten(1))


class Mixing(Residual):
    def forward(self, picture):
        answer = super().forward(picture)
        return answer + answer.sum(dim=0, keepdim=True)


class Dict(Residual):
    def forward(self, picture):
        return {"scores": super().forward(picture)}


residual, mixes_rows, answers_a_dict = Residual, Mixing, Dict


def not_a_network(**arguments):
    return "network"
"""
