"""Each field of the users once through a real server, on real data, and every figure computed again from the files."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from scipy.special import log_softmax
from sklearn.metrics import accuracy_score, roc_auc_score

from loadtests.fields.catalogue import FIELDS
from loadtests.fields.field import DataMissing, Prepared

pytestmark = pytest.mark.e2e

Arrays = dict[str, Any]

# Steps of one recipe a field that the variants must be smaller by.
_RECIPES = {
    "vision": "[{use: prune_structured}, {use: distill, epochs: 1}, {use: export}, {use: quantize_static}]",
    "text": "[{use: export}, {use: fuse}, {use: quantize_dynamic}]",
    "speech": "[{use: finetune, epochs: 1}, {use: export}, {use: quantize_static}]",
    "recommendation": "[{use: finetune, epochs: 1}, {use: export}, {use: quantize_dynamic}]",
    "language": "[{use: distill, epochs: 1}, {use: export}, {use: quantize_dynamic}]",
}


def _accuracy(answers: Any, data: Arrays) -> float:
    return float(accuracy_score(data["labels"], answers.argmax(-1)))


def _auc(answers: Any, data: Arrays) -> float:
    return float(roc_auc_score(data["labels"], answers[:, 0]))


def _perplexity(answers: Any, data: Arrays) -> float:
    following = data["input_ids"][:, 1:]
    likelihood = log_softmax(answers[:, :-1].astype(np.float64), axis=-1)
    return float(np.exp(-np.take_along_axis(likelihood, following[..., None], axis=-1).mean()))


_METRICS: dict[str, Callable[[Any, Arrays], float]] = {
    "vision": _accuracy, "text": _accuracy, "speech": _accuracy, "recommendation": _auc, "language": _perplexity,
}  # fmt: skip


@pytest.mark.parametrize("name", list(FIELDS))
def test_a_field_from_push_to_answers(name: str, server: Any, tmp_path: Path) -> None:
    field = FIELDS[name]
    try:
        prepared = field.prepare(tmp_path, True)
    except DataMissing as missing:
        pytest.skip(str(missing))
    recipe = tmp_path / "small.yaml"
    recipe.write_text(f"name: small\nsteps: {_RECIPES[name]}\n")
    data = [f"--data=train={prepared.train}", f"--data=eval={prepared.evaluation}"]
    pushed = server.json("push", name, str(prepared.checkpoint), *data, "--task", field.task)
    assert pushed["task"] == field.task
    job = server.json("optimize", name, "--recipe", str(recipe), "--max-accuracy-drop", "0.2", "--wait")
    assert [trial["state"] for trial in job["trials"]] == ["published", "published"], job["trials"]
    source, small = (variant for variant in server.json("variants", name))
    assert (source["parent"], small["parent"]) == (None, source["name"])
    assert small["size_bytes"] < source["size_bytes"]
    for variant in (source, small):
        _is_true(name, variant, prepared, server, tmp_path)
    answered = server.json("infer", name, "--data", str(prepared.evaluation), "--rows", "0:4")
    assert {answer["version"] for answer in answered["answers"]} == {source["name"]}


def _is_true(name: str, variant: dict[str, Any], prepared: Prepared, server: Any, tmp_path: Path) -> None:
    """The metric that the table shows is what the file really does on the rows that were pushed."""
    folder = tmp_path / variant["name"]
    server.run("pull", name, variant["name"], str(folder))
    assert json.loads((folder / "manifest.json").read_text())["digest"] == variant["digest"]
    with np.load(prepared.evaluation) as archive:
        rows = {key: archive[key] for key in archive.files}
    session = ort.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    inputs = {given.name: rows[given.name] for given in session.get_inputs()}
    count = len(next(iter(inputs.values())))
    answers = np.concatenate(
        [
            session.run(None, {key: array[start : start + 64] for key, array in inputs.items()})[0]
            for start in range(0, count, 64)
        ]
    )
    found = _METRICS[name](answers, rows)
    assert variant["metric"]["n"] == count
    assert found == pytest.approx(variant["metric"]["value"], rel=1e-3)
    assert variant["metric"]["low"] <= found <= variant["metric"]["high"]
