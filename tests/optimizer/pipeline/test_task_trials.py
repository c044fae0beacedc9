"""Trials of tasks other than classification, from the checkpoint to the verdict."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers

from optimizer.artifact.manifest import Verdict
from optimizer.artifact.task import Task

_VOCABULARY = 24


class Sample:
    """A checkpoint on disk with a data file that fits it."""

    def __init__(self, root: Path, network: transformers.PreTrainedModel, arrays: dict[str, np.ndarray]) -> None:
        self.directory, self.data = root / "checkpoint", root / "rows.npz"
        network.save_pretrained(self.directory)
        np.savez(self.data, allow_pickle=False, **arrays)


def _encoder(kind: Any, **changes: Any) -> transformers.PreTrainedModel:
    config = transformers.BertConfig(
        vocab_size=_VOCABULARY, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=16, **changes,
    )  # fmt: skip
    return kind(config)


def _gpt() -> transformers.PreTrainedModel:
    config = transformers.GPT2Config(
        vocab_size=_VOCABULARY, n_positions=16, n_embd=16, n_layer=1, n_head=2, bos_token_id=0, eos_token_id=0
    )
    return transformers.GPT2LMHeadModel(config)


def _made(task: Task) -> tuple[transformers.PreTrainedModel, dict[str, np.ndarray]]:
    random = np.random.default_rng(0)
    ids = random.integers(1, _VOCABULARY, (120, 8))
    arrays = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    if task == "causal_lm":
        return _gpt(), arrays
    if task == "embedding":
        return _encoder(transformers.BertModel), arrays
    return _encoder(transformers.BertForTokenClassification, num_labels=3), arrays | {"labels": ids % 3}


@pytest.mark.parametrize(
    ("task", "metric"),
    [
        ("token_classification", "token_accuracy"),
        ("causal_lm", "perplexity"),
        ("embedding", "cosine"),
    ],
)
def test_a_variant_is_measured_and_judged(task: Task, metric: str, make_trial: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    sample = Sample(tmp_path, *_made(task))
    source = make_trial(sample, f"{task.replace('_', '-')}-fp32", [{"use": "export"}], task=task).run_here()
    assert source.finished().manifest.verdict is Verdict.SOURCE
    steps = [{"use": "export"}, {"use": "quantize_dynamic"}]
    variant = make_trial(sample, f"{task.replace('_', '-')}-int8", steps, source, task=task).run_here()
    manifest = variant.finished().manifest
    (measurement,) = manifest.measurements
    assert (measurement.metric.name, measurement.metric.n) == (metric, 36)
    assert measurement.source_metric is not None
    assert measurement.difference is not None
    assert measurement.difference.low <= measurement.difference.value <= measurement.difference.high
    # Eight bits move these answers by about a hundredth, so a source that was read wrongly would show.
    assert measurement.metric.value == pytest.approx(measurement.source_metric.value, rel=0.1)
    assert manifest.verdict in (Verdict.ACCEPT, Verdict.REJECT, Verdict.INCONCLUSIVE)
