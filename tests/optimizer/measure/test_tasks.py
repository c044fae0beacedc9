"""Every task's answers, streamed through a real session: statistics, truth and predictions."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from optimizer.artifact.graph_signature import signature_of
from optimizer.artifact.rows import Rows
from optimizer.artifact.session import SessionSpec, build
from optimizer.artifact.task import IGNORED, Task
from optimizer.errors import InvalidDataset
from optimizer.measure.evaluation import Evaluation
from optimizer.measure.figures import quality_of
from optimizer.measure.predictions import evaluate
from optimizer.measure.truth import truth_for
from optimizer.metrics.scoring import scoring

_WIDTH = 5


def linear(weight: np.ndarray) -> onnx.ModelProto:
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", _WIDTH])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", weight.shape[1]])],
        [numpy_helper.from_array(weight.astype(np.float32), "w")],
    )
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)])


def table_of_scores(scores: np.ndarray) -> onnx.ModelProto:
    """A language model that foretells by the present token alone."""
    graph = helper.make_graph(
        [helper.make_node("Gather", ["w", "input_ids"], ["logits"])],
        "tokens",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["n", "s"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", "s", scores.shape[1]])],
        [numpy_helper.from_array(scores.astype(np.float32), "w")],
    )
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)])


Answer = Callable[..., Evaluation]


@pytest.fixture
def answer(tmp_path: Path) -> Answer:
    def call(
        model: onnx.ModelProto, rows: Rows, task: Task, source: onnx.ModelProto | None = None, known: Any = None
    ) -> Evaluation:
        signature = signature_of(model)
        opened = None if source is None else build(source.SerializeToString(), SessionSpec())
        indices = np.arange(len(rows))[::-1].copy()
        truth = truth_for(task, rows, indices, signature, opened, known)
        found = evaluate(build(model.SerializeToString(), SessionSpec()), signature, rows, indices, task, truth)
        found.save(tmp_path / "evaluation.npz")
        return Evaluation.load(tmp_path / "evaluation.npz")

    return call


@pytest.mark.parametrize(
    ("task", "width", "labels"),
    [
        ("binary", 1, lambda x: (x[:, 0] > 0.5).astype(np.int64)),
        ("binary", 2, lambda x: (x[:, 0] > 0.5).astype(np.int64)),
        ("multilabel", 3, lambda x: (x[:, :3] > 0.5).astype(np.int64)),
        ("regression", 1, lambda x: x[:, 0] + 1),
        ("regression", 2, lambda x: x[:, :2] + 1),
        ("classification", 12, lambda x: x[:, :5].argmax(1)),
    ],
)
def test_streamed_statistics_are_those_of_all_answers(
    answer: Answer, task: Task, width: int, labels: Callable[[np.ndarray], np.ndarray]
) -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(150, _WIDTH)).astype(np.float32)
    weight = np.eye(_WIDTH, width) + 0.1 * random.normal(size=(_WIDTH, width))
    rows = Rows({"x": x}, labels(x))
    found = answer(linear(weight), rows, task)
    expected = scoring(task).statistics((x @ weight.astype(np.float32))[::-1], rows.labels[::-1])  # type: ignore[index]
    np.testing.assert_allclose(found.statistics, expected, rtol=1e-4, atol=1e-5)
    assert found.prediction is not None
    quality = quality_of(found, found, task, rows, found.rows)
    assert quality.metric == quality.source_metric
    assert quality.difference is not None
    assert quality.difference.value == 0
    assert quality.paired is not None
    if width == 12:
        assert set(found.details) == {"confidence", "top5"}


def test_an_embedding_is_held_against_its_sources(answer: Answer) -> None:
    random = np.random.default_rng(1)
    rows = Rows({"x": random.normal(size=(40, _WIDTH)).astype(np.float32)})
    weight = random.normal(size=(_WIDTH, 8))
    source, other = linear(weight), linear(weight + 0.3 * random.normal(size=(_WIDTH, 8)))
    own = answer(source, rows, "embedding")
    np.testing.assert_allclose(own.statistics, 1.0, rtol=1e-6)
    assert own.prediction is None
    found = quality_of(answer(other, rows, "embedding", source), own, "embedding", rows, own.rows)
    assert 0.5 < found.metric.value < 1
    assert found.difference is not None
    assert found.difference.high < 0
    assert found.agreement is None


def test_a_language_model_is_told_by_perplexity_and_padding_does_not_count(answer: Answer) -> None:
    # Always as likely as not between the next two tokens of a ring of four.
    scores = np.full((4, 4), -50.0)
    for token in range(4):
        scores[token, [(token + 1) % 4, (token + 2) % 4]] = 0
    tokens = np.cumsum(np.random.default_rng(2).integers(1, 3, (20, 9)), axis=1) % 4
    mask = np.ones_like(tokens)
    mask[:, 6:] = 0
    garbage = np.where(mask > 0, tokens, 0)
    rows = Rows({"input_ids": garbage, "attention_mask": mask})
    found = answer(table_of_scores(scores), rows, "causal_lm")
    assert found.statistics[:, 1].tolist() == [5] * 20
    quality = quality_of(found, found, "causal_lm", rows, found.rows)
    assert (quality.metric.name, quality.metric.value) == ("perplexity", pytest.approx(2.0))
    assert quality.agreement is not None
    assert quality.agreement.value == 1
    assert set(found.details) == {"next_tokens"}


def test_tokens_that_do_not_count_are_in_no_figure(answer: Answer) -> None:
    ids = np.arange(24).reshape(4, 6) % 4
    labels = ids.copy()
    labels[:, 4:] = IGNORED
    rows = Rows({"input_ids": ids}, labels)
    source = answer(table_of_scores(np.eye(4)), rows, "token_classification")
    wrong_on_three = np.eye(4)
    wrong_on_three[3] = [1, 0, 0, 0]
    found = answer(table_of_scores(wrong_on_three), rows, "token_classification")
    quality = quality_of(found, source, "token_classification", rows, source.rows)
    expected = (labels[:, :4] != 3).mean()
    assert quality.metric.value == pytest.approx(expected)
    assert quality.agreement is not None
    assert quality.agreement.value == pytest.approx(expected)


def test_tasks_with_labels_need_them(answer: Answer) -> None:
    with pytest.raises(InvalidDataset, match="task regression needs an array `labels`"):
        answer(linear(np.eye(_WIDTH, 1)), Rows({"x": np.zeros((3, _WIDTH), np.float32)}), "regression")
