"""ONNX graphs of every task and form, from the look at their data to a verdict on their integers."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from optimizer.artifact import dataset
from optimizer.artifact.inspection import inspect_checkpoint
from optimizer.artifact.manifest import Verdict

_ROWS, _WIDTH, _VOCABULARY, _LENGTH = 200, 16, 30, 6
_RANDOM = np.random.default_rng
Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Graph:
    """What a test graph takes, does and answers; the last node makes "scores"."""

    inputs: dict[str, tuple[int, list[int | str]]]
    weights: Arrays
    nodes: list[Any]
    answers: list[int | str]

    def write(self, path: Path) -> None:
        graph = helper.make_graph(
            self.nodes,
            "g",
            [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in self.inputs.items()],
            [helper.make_tensor_value_info("scores", TensorProto.FLOAT, self.answers)],
            [numpy_helper.from_array(array, name) for name, array in self.weights.items()],
        )
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)

    def answer(self, arrays: Arrays, path: Path) -> np.ndarray:
        """What it answers to all rows, by itself."""
        import onnxruntime

        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        named = {name: arrays[name] for name in self.inputs}
        if next(iter(self.inputs.values()))[1][0] != 1:
            return np.asarray(session.run(None, named)[0])
        return np.concatenate(
            [session.run(None, {key: value[row : row + 1] for key, value in named.items()})[0] for row in range(_ROWS)]
        )


def _weights(answers: int) -> Arrays:
    random = _RANDOM(0)
    sizes = {"w1": (_WIDTH, 32), "b1": (32,), "w2": (32, answers), "b2": (answers,)}
    return {name: random.normal(0, 0.4, size).astype(np.float32) for name, size in sizes.items()}


def _layers(source: str, answer: str = "scores") -> list[Any]:
    return [
        helper.make_node("MatMul", [source, "w1"], ["m1"]),
        helper.make_node("Add", ["m1", "b1"], ["a1"]),
        helper.make_node("Relu", ["a1"], ["r1"]),
        helper.make_node("MatMul", ["r1", "w2"], ["m2"]),
        helper.make_node("Add", ["m2", "b2"], [answer]),
    ]


def of_numbers(answers: int, batch: int | str = "n", last: list[Any] | None = None) -> Graph:
    """Two layers over numbers; `last` nodes go from "raw" to "scores"."""
    nodes = [*_layers("x", "raw"), *last] if last else _layers("x")
    return Graph({"x": (TensorProto.FLOAT, [batch, _WIDTH])}, _weights(answers), nodes, [batch, answers])


def of_a_pair() -> Graph:
    """Numbers and the number of an item, which is looked up; one value a row and no axis for it."""
    table = {"table": _RANDOM(1).normal(0, 1, (20, _WIDTH)).astype(np.float32), "last": np.array([1], np.int64)}
    nodes = [
        helper.make_node("Gather", ["table", "item"], ["found"]),
        helper.make_node("Add", ["x", "found"], ["both"]),
        *_layers("both", "raw"),
        helper.make_node("Squeeze", ["raw", "last"], ["scores"]),
    ]
    inputs = {"x": (TensorProto.FLOAT, ["n", _WIDTH]), "item": (TensorProto.INT32, ["n"])}
    return Graph(inputs, _weights(1) | table, nodes, ["n"])


def of_tokens(answers: int, softmax: bool = False) -> Graph:
    """Scores for each token, or probabilities."""
    table = {"table": _RANDOM(1).normal(0, 1, (_VOCABULARY, _WIDTH)).astype(np.float32)}
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["found"]),
        *_layers("found", "raw" if softmax else "scores"),
    ]
    if softmax:
        nodes.append(helper.make_node("Softmax", ["raw"], ["scores"], axis=-1))
    inputs = {"input_ids": (TensorProto.INT64, ["n", "length"])}
    return Graph(inputs, _weights(answers) | table, nodes, ["n", "length", answers])


def numbers() -> Arrays:
    return {"x": _RANDOM(2).normal(0, 1, (_ROWS, _WIDTH)).astype(np.float32)}


def pairs() -> Arrays:
    return numbers() | {"item": _RANDOM(3).integers(0, 20, _ROWS).astype(np.int32)}


def tokens() -> Arrays:
    return {"input_ids": _RANDOM(2).integers(0, _VOCABULARY, (_ROWS, _LENGTH))}


def _noisy(answers: np.ndarray) -> np.ndarray:
    return (answers + _RANDOM(4).normal(0, 1, answers.shape)).astype(np.float32)


def _some_ignored(answers: np.ndarray) -> np.ndarray:
    labels = answers.argmax(-1)
    labels[:, -1] = -100
    return labels


_SIGMOID = [helper.make_node("Sigmoid", ["raw"], ["scores"])]


@dataclass(frozen=True)
class Case:
    """A graph, its data, the labels made of its answers, and what must come of them."""

    task: str
    graph: Graph
    arrays: Callable[[], Arrays]
    labels: Callable[[np.ndarray], np.ndarray] | None
    metric: str
    # What the source must reach at least, or at most where less is better.
    good: float
    suggested: bool = True
    quantize: str = "quantize_static"


CASES = {
    "regression": Case("regression", of_a_pair(), pairs, _noisy, "rmse", 1.2),
    "targets-one-row": Case("regression", of_numbers(3, batch=1), numbers, _noisy, "rmse", 1.2),
    "tokens": Case("token_classification", of_tokens(5), tokens, _some_ignored, "token_accuracy", 0.99),
    "causal": Case("causal_lm", of_tokens(_VOCABULARY), tokens, None, "perplexity", 1e4, suggested=False),
    "classes-one-row": Case(
        "classification", of_numbers(4, batch=1), numbers, lambda a: a.argmax(-1), "accuracy", 0.99
    ),
    "multilabel-sigmoid": Case(
        "multilabel", of_numbers(4, last=_SIGMOID), numbers, lambda a: (a > 0.5).astype(int), "micro_f1", 0.99
    ),
    "causal-softmax": Case(
        "causal_lm", of_tokens(_VOCABULARY, softmax=True), tokens, None, "perplexity", 1e4, suggested=False
    ),
    "embedding": Case("embedding", of_numbers(24), numbers, None, "cosine", 0.99, suggested=False),
    "multilabel": Case("multilabel", of_numbers(4), numbers, lambda a: (a > 0).astype(int), "micro_f1", 0.99),
    "binary-sigmoid": Case(
        "binary", of_numbers(1, last=_SIGMOID), numbers, lambda a: (a[:, 0] > 0.5).astype(int), "auc", 0.99
    ),
    "fifty-classes": Case(
        "classification",
        of_numbers(50),
        numbers,
        lambda a: a[:, :10].argmax(-1),
        "accuracy",
        0.0,
        quantize="quantize_dynamic",
    ),
}


class Sample:
    """A case on disk."""

    def __init__(self, case: Case, root: Path) -> None:
        self.directory, self.data = root / "checkpoint", root / "rows.npz"
        self.directory.mkdir()
        case.graph.write(self.directory / "model.onnx")
        arrays = case.arrays()
        answers = case.graph.answer(arrays, self.directory / "model.onnx")
        np.savez(self.data, **arrays, **({} if case.labels is None else {"labels": case.labels(answers)}))


@pytest.mark.parametrize("name", CASES)
def test_a_graph_is_checked_measured_and_quantised(name: str, make_trial: Any, tmp_path: Path) -> None:
    case = CASES[name]
    sample = Sample(case, tmp_path)
    inspection = inspect_checkpoint({"model.onnx": sample.directory / "model.onnx"})
    rows = {"all": dataset.read(sample.data, "rows.npz")}
    assert dataset.check(rows, inspection, "" if case.suggested else case.task) == case.task
    source = make_trial(sample, f"{name}-fp32", [], task=case.task).run_here()
    (own,) = source.finished().manifest.measurements
    assert own.metric.name == case.metric
    better = own.metric.value <= case.good if case.metric in ("rmse", "perplexity") else own.metric.value >= case.good
    assert better, own.metric
    variant = make_trial(sample, f"{name}-int8", [{"use": case.quantize}], source, task=case.task).run_here()
    manifest = variant.finished().manifest
    (measured,) = manifest.measurements
    assert measured.source_metric is not None
    assert measured.source_metric.value == pytest.approx(own.metric.value)
    assert measured.metric.value == pytest.approx(own.metric.value, rel=0.35, abs=0.05)
    assert manifest.verdict in (Verdict.ACCEPT, Verdict.REJECT, Verdict.INCONCLUSIVE)
