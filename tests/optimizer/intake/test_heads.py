"""Every head of a Hugging Face checkpoint: opened, exported, and answering with the shape that its task has."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from optimizer.artifact import dataset
from optimizer.artifact.inspection import inspect_checkpoint
from optimizer.artifact.rows import Rows
from optimizer.artifact.session import SessionSpec, build
from optimizer.errors import InvalidDataset, UnsupportedModel
from optimizer.intake import hf
from optimizer.intake.predictor import answers_of, predictor_of, tensors_of
from optimizer.intake.stages import Checkpoint
from optimizer.passes import export
from optimizer.passes.context import Splits
from optimizer.recipe.export import Export

_TINY = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
_BERT = transformers.BertConfig(**_TINY, vocab_size=30, max_position_embeddings=16, num_labels=3)
_WAV = transformers.Wav2Vec2Config(
    **_TINY, vocab_size=8, conv_dim=(8, 8), conv_stride=(5, 2), conv_kernel=(10, 3), num_conv_pos_embeddings=4,
    num_conv_pos_embedding_groups=2, num_labels=3, classifier_proj_size=8,
)  # fmt: skip
_GPT = transformers.GPT2Config(vocab_size=30, n_positions=16, n_embd=16, n_layer=1, n_head=2)


def _texts(labels: object = None) -> Rows:
    random = np.random.default_rng(0)
    arrays = {"input_ids": random.integers(1, 30, (12, 8)), "attention_mask": np.ones((12, 8), np.int64)}
    return Rows(arrays, None if labels is None else np.asarray(labels))


def _checkpoint(network: transformers.PreTrainedModel, folder: Path) -> Checkpoint:
    network.save_pretrained(folder)
    files = {path.name: path for path in folder.iterdir() if path.name in ("config.json", "model.safetensors")}
    return Checkpoint(files, inspect_checkpoint(files))


def _regression() -> transformers.PreTrainedModel:
    config = transformers.BertConfig(**_TINY, vocab_size=30, max_position_embeddings=16, num_labels=1)
    return transformers.BertForSequenceClassification(config)


_CASES = {
    "tokens": (lambda: transformers.BertForTokenClassification(_BERT), _texts(np.ones((12, 8), int)), (12, 8, 3)),
    "regression": (_regression, _texts(np.linspace(0, 1, 12, dtype=np.float32)), (12, 1)),
    "embedding": (lambda: transformers.BertModel(_BERT, add_pooling_layer=False), _texts(), (12, 16)),
    "language": (lambda: transformers.GPT2LMHeadModel(_GPT), Rows({"input_ids": _texts().arrays["input_ids"]}),
                 (12, 8, 30)),
    "audio": (
        lambda: transformers.Wav2Vec2ForSequenceClassification(_WAV),
        Rows({"input_values": np.random.default_rng(1).normal(size=(12, 400)).astype(np.float32)},
             np.arange(12) % 3),
        (12, 3),
    ),
}  # fmt: skip
_TASKS = {
    "tokens": "token_classification", "regression": "regression", "embedding": "embedding", "language": "causal_lm",
    "audio": "classification",
}  # fmt: skip


@pytest.mark.parametrize("name", list(_CASES))
def test_a_head_is_opened_and_exported(name, tmp_path, context, bert):
    torch.manual_seed(0)
    make, rows, shape = _CASES[name]
    checkpoint = _checkpoint(make(), tmp_path / "checkpoint")
    assert dataset.check({"all": rows}, checkpoint.inspection) == _TASKS[name]
    model = hf.load(checkpoint, rows, dataset.check({"all": rows}, checkpoint.inspection))
    answers = answers_of(predictor_of(model), tensors_of(rows, model.inputs))
    assert answers.shape == shape
    exported = export.run(Export(), model, context(bert, "export", splits=Splits(rows, rows, rows)))
    assert [output.name for output in exported.signature.outputs] == ["embedding" if name == "embedding" else "logits"]
    (got,) = build(exported.path, SessionSpec()).run(None, {key: rows.arrays[key] for key in rows.arrays})
    np.testing.assert_allclose(got, answers.numpy(), atol=1e-4)


@pytest.mark.parametrize(
    ("task", "labels", "shape"),
    [
        ("classification", np.arange(12) % 5, (12, 5)),
        ("binary", np.arange(12) % 2, (12, 2)),
        ("regression", np.linspace(0, 1, 12, dtype=np.float32), (12, 1)),
        ("multilabel", np.eye(12, 4, dtype=np.int64), (12, 4)),
        ("token_classification", np.arange(96).reshape(12, 8) % 7, (12, 8, 7)),
    ],
)
def test_a_bare_body_gets_a_head_as_wide_as_the_labels(task, labels, shape, tmp_path):
    torch.manual_seed(0)
    body = transformers.BertModel(_BERT)
    checkpoint = _checkpoint(body, tmp_path / "checkpoint")
    rows = _texts(labels)
    one, other = (hf.load(checkpoint, rows, task) for _ in range(2))
    assert answers_of(predictor_of(one), tensors_of(rows, one.inputs)).shape == shape
    for name, tensor in one.network.state_dict().items():
        torch.testing.assert_close(tensor, other.network.state_dict()[name], atol=0, rtol=0)
    kept = one.network.base_model.embeddings.word_embeddings.weight
    torch.testing.assert_close(kept, body.embeddings.word_embeddings.weight, atol=0, rtol=0)
    # The config describes the network with its head, so that it can be built again.
    assert set(hf.build(one.config, "text").state_dict()) == set(one.network.state_dict())


def test_a_head_needs_labels_and_a_class_of_the_library(tmp_path):
    checkpoint = _checkpoint(transformers.BertModel(_BERT), tmp_path / "checkpoint")
    with pytest.raises(InvalidDataset, match="as wide as the labels, and the data has none"):
        hf.load(checkpoint, _texts(), "classification")
    config = json.loads((tmp_path / "checkpoint" / "config.json").read_text())
    (tmp_path / "checkpoint" / "config.json").write_text(json.dumps(config | {"model_type": "blip"}))
    with pytest.raises(UnsupportedModel, match="model type 'blip' has no sequence classifier"):
        hf.load(checkpoint, _texts(np.arange(12) % 2), "classification")
