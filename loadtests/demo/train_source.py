"""Trains the demo's source, a small Hugging Face ResNet, and saves it as `save_pretrained` does.

`python -m loadtests.demo.train_source DIRECTORY` leaves DIRECTORY/checkpoint (config.json, model.safetensors),
DIRECTORY/train.npz, DIRECTORY/eval.npz and DIRECTORY/source.json. Nothing of eval.npz is trained on: its rows decide
which variants are accepted. The only module of the load test that imports torch.
"""

import json
import math
import os
import sys
import time
from pathlib import Path

import torch
import transformers
from torch.nn import functional
from transformers import ResNetConfig, ResNetForImageClassification

from loadtests.demo.digits import CLASSES, FACTS_FILE, Digits, load

ACCURACY_WANTED = 0.97
EPOCHS = 4
_BATCH = 64
_LEARNING_RATE = 2e-3
_WEIGHT_DECAY = 0.01
# Pictures are moved by up to so many pixels, a batch at a time.
_LARGEST_SHIFT = 2


def network() -> ResNetForImageClassification:
    """A ResNet of basic blocks, 96-192-384 channels wide: 6.2 million weights, 55 million multiplications a digit."""
    config = ResNetConfig(
        num_channels=1,
        embedding_size=96,
        hidden_sizes=[96, 192, 384],
        depths=[2, 2, 2],
        layer_type="basic",
        id2label={number: str(number) for number in range(CLASSES)},
        label2id={str(number): number for number in range(CLASSES)},
    )
    return ResNetForImageClassification(config)


def train(model: ResNetForImageClassification, digits: Digits, epochs: int = EPOCHS) -> float:
    """Trains in place with AdamW on one cosine cycle; returns the last epoch's mean loss. Prints a line an epoch."""
    pictures, labels = torch.from_numpy(digits.pixel_values), torch.from_numpy(digits.labels)
    batches = math.ceil(len(labels) / _BATCH)
    optimizer = torch.optim.AdamW(model.parameters(), lr=_LEARNING_RATE, weight_decay=_WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _LEARNING_RATE, total_steps=epochs * batches)
    model.train()
    mean_loss = math.nan
    for epoch in range(1, epochs + 1):
        began, total_loss = time.monotonic(), 0.0
        for chosen in torch.randperm(len(labels)).chunk(batches):
            down, right = torch.randint(-_LARGEST_SHIFT, _LARGEST_SHIFT + 1, (2,)).tolist()
            moved = torch.roll(pictures[chosen], (down, right), dims=(2, 3))
            loss = functional.cross_entropy(model(moved).logits, labels[chosen])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total_loss += loss.item()
        mean_loss = total_loss / batches
        print(f"  epoch {epoch} of {epochs}: loss {mean_loss:.3f}, {time.monotonic() - began:.1f} s", flush=True)
    return mean_loss


def accuracy(model: ResNetForImageClassification, digits: Digits) -> float:
    """Share of the digits that the model names right."""
    model.eval()
    right = 0
    with torch.inference_mode():
        for start in range(0, len(digits), 250):
            chosen = slice(start, start + 250)
            predicted = model(torch.from_numpy(digits.pixel_values[chosen])).logits.argmax(dim=1)
            right += int((predicted == torch.from_numpy(digits.labels[chosen])).sum())
    return right / len(digits)


def main() -> int:
    """Trains and saves; exit code 1 when the result is not worth showing."""
    directory = Path(sys.argv[1])
    directory.mkdir(parents=True, exist_ok=True)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(cores)
    torch.manual_seed(0)
    training, evaluation = load()
    model = network()
    began = time.monotonic()
    train(model, training)
    seconds = time.monotonic() - began
    reached = accuracy(model, evaluation)
    if reached < ACCURACY_WANTED:
        print(f"the source reached {reached:.4f}, less than {ACCURACY_WANTED}", file=sys.stderr)
        return 1
    training.save(directory / "train.npz")
    evaluation.save(directory / "eval.npz")
    transformers.utils.logging.disable_progress_bar()
    model.save_pretrained(directory / "checkpoint")
    facts = {
        "accuracy": reached,
        "training_rows": len(training),
        "evaluation_rows": len(evaluation),
        "seconds": round(seconds, 1),
        "parameters": sum(weight.numel() for weight in model.parameters()),
    }
    (directory / FACTS_FILE).write_text(json.dumps(facts, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
