"""Language: the help texts of Python's own standard library, byte by byte, and a small GPT-2 of transformers."""

import pydoc_data.topics
from pathlib import Path

import numpy as np
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from loadtests.fields.field import Field, Prepared, save
from loadtests.fields.training import parameters_millions, train

_LENGTH = 128
_BYTES = 256
_TRAIN_SHARE = 0.8
_SMALL = 400


def _network(small: bool) -> GPT2LMHeadModel:
    width, layers = (64, 2) if small else (128, 4)
    config = GPT2Config(
        vocab_size=_BYTES, n_positions=_LENGTH, n_embd=width, n_layer=layers, n_head=4, bos_token_id=0, eos_token_id=0
    )
    return GPT2LMHeadModel(config)


def _prepare(directory: Path, small: bool) -> Prepared:
    topics: dict[str, str] = pydoc_data.topics.topics
    text = np.frombuffer("\n".join(topics.values()).encode(), np.uint8).astype(np.int64)
    rows = text[: len(text) // _LENGTH * _LENGTH].reshape(-1, _LENGTH)
    rows = rows[np.random.default_rng(0).permutation(len(rows))][: _SMALL if small else None]
    learned, judged = np.split(rows, [int(_TRAIN_SHARE * len(rows))])
    tokens = torch.from_numpy(learned)
    torch.manual_seed(0)
    network = _network(small)

    def loss(chosen: torch.Tensor) -> torch.Tensor:
        value: torch.Tensor = network(input_ids=tokens[chosen], labels=tokens[chosen]).loss
        return value

    train(network, loss, len(tokens), epochs=2 if small else 6, batch=16, learning_rate=2e-3)
    network.save_pretrained(directory / "checkpoint")
    return Prepared(
        directory / "checkpoint",
        save(directory / "train.npz", {"input_ids": learned}),
        save(directory / "eval.npz", {"input_ids": judged}),
        parameters_millions(network),
    )


FIELD = Field(
    name="language",
    task="causal_lm",
    data="Python's help texts (`pydoc_data`, standard library), rows of 128 bytes: 80% to train on, 20% to judge by",
    network="GPT-2 of transformers over bytes",
    prepare=_prepare,
)
