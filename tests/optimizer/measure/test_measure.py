"""Measuring as a whole: every figure against what can be computed by hand."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from optimizer.artifact.graph_signature import signature_of
from optimizer.artifact.manifest import Lineage, Manifest, Measurement, Verdict
from optimizer.artifact.rows import Rows
from optimizer.artifact.session import SessionSpec
from optimizer.artifact.signature import Signature
from optimizer.data.splits import Part
from optimizer.errors import InvalidCheckpoint, InvalidDataset, PassFailed
from optimizer.measure.evaluation import Evaluation
from optimizer.measure.measure import Measured, Source, measure, source_of
from optimizer.metrics.gate import Accept, Reject, decide, gain_of, speedups_of
from optimizer.metrics.intervals import PairedCounts
from optimizer.recipe.objective import Objective

Save = Callable[..., Path]


def part_of(rows: Rows) -> Part:
    return Part("evaluation", "all", np.arange(len(rows))[::-1].copy())


@pytest.fixture
def run(rows: Rows, tmp_path: Path) -> Callable[..., Measured]:
    def call(model: Path, **changes: Any) -> Measured:
        arguments: dict[str, Any] = {
            "rows": rows,
            "part": part_of(changes.get("rows", rows)),
            "task": "classification",
            "session": SessionSpec(),
            "dataset_digest": "d",
            "source": None,
            "scratch": tmp_path,
            "batches": (1, 8),
            "budget_seconds": 0.02,
            # A process of its own each time would be most of the tests' time; test_memory has the real one.
            "peak_memory": lambda model, inputs, session, scratch: len(next(iter(inputs.values()))),
        }
        arguments["signature"] = changes.get("signature") or signature_of(onnx.load(model))
        return measure(model, **arguments | changes)

    return call


def test_a_measurement_from_before_the_further_figures_is_read(save: Save, run: Callable[..., Measured]) -> None:
    new = run(save("source.onnx")).measurement
    later = {"secondary", "slices", "slices_left_out", "worst_slice", "start", "throughput", "noise"}
    old = Measurement.model_validate_json(new.model_dump_json(exclude=later))
    assert (old.metric, old.secondary, old.slices, old.noise) == (new.metric, (), (), None)
    assert Measurement.model_validate_json(new.model_dump_json()) == new


def test_the_source_itself(save: Save, run: Callable[..., Measured], rows: Rows) -> None:
    found = run(save("source.onnx"))
    figures = found.measurement
    assert (figures.metric.name, figures.metric.value, figures.metric.n) == ("accuracy", 0.75, 120)
    assert figures.metric.low < 0.75 < figures.metric.high
    assert (figures.source_metric, figures.difference, figures.agreement, found.paired) == (None, None, None, None)
    assert [entry.batch for entry in figures.latencies] == [1, 8]
    assert figures.start is not None
    assert figures.throughput is not None
    assert figures.noise is not None
    assert figures.throughput.batch in (1, 8)
    assert min(figures.start.load_ms, figures.start.first_call_ms, figures.throughput.rows_per_second) > 0
    assert figures.noise.spoiled == bool(figures.noise.sentence)
    assert all(
        entry.speedup is None and 0 < entry.latency.p50_ms <= entry.latency.p99_ms for entry in figures.latencies
    )
    assert figures.rows_digest == part_of(rows).digest
    assert found.evaluation.rows.tolist() == list(range(119, -1, -1))
    assert found.evaluation.prediction.tolist() == rows.arrays["x"][::-1, :3].argmax(axis=1).tolist()
    # Memory is asked for the largest batch.
    assert figures.peak_memory_bytes == 8


def test_a_variant_is_paired_with_its_source(save: Save, run: Callable[..., Measured]) -> None:
    slow, fast = save("slow.onnx", work=512), save("fast.onnx")
    source = run(slow)
    variant = run(fast, source=Source(slow, source.evaluation))
    figures = variant.measurement
    assert variant.paired is not None
    assert variant.paired.counts == PairedCounts(n=120, both=90, gained=0, lost=0)
    assert figures.p_value == 1
    assert figures.source_metric == figures.metric
    assert figures.difference is not None
    assert figures.difference.value == 0
    assert figures.agreement is not None
    assert figures.agreement.value == 1
    speedups = speedups_of(figures)
    assert set(speedups) == {1, 8}
    assert all(entry.low > 1 and entry.n >= 20 for entry in speedups.values())
    assert isinstance(decide(variant.paired, gain_of(figures, 1), Objective(max_accuracy_drop=0.05)), Accept)


def test_a_slower_and_wrong_variant_is_rejected(save: Save, run: Callable[..., Measured]) -> None:
    fast, slow = save("fast.onnx"), save("slow.onnx", work=512, flipped=True)
    variant = run(slow, source=Source(fast, run(fast).evaluation))
    assert variant.paired is not None
    assert variant.measurement.agreement is not None
    assert variant.measurement.agreement.value == 0
    assert all(entry.high < 1 for entry in speedups_of(variant.measurement).values())
    assert isinstance(
        decide(variant.paired, gain_of(variant.measurement, 1), Objective(max_accuracy_drop=0.05)), Reject
    )


def test_without_labels_the_sources_answers_are_right(save: Save, run: Callable[..., Measured], rows: Rows) -> None:
    unlabelled = Rows(rows.arrays)
    model, other = save("a.onnx"), save("b.onnx", flipped=True)
    source = run(model, rows=unlabelled, task="agreement")
    assert (source.measurement.metric.name, source.measurement.metric.value) == ("agreement", 1.0)
    variant = run(other, rows=unlabelled, task="agreement", source=Source(model, source.evaluation))
    assert variant.measurement.metric.value == 0
    assert variant.paired is not None
    assert variant.paired.counts is not None
    assert variant.paired.counts.lost == 120
    with pytest.raises(InvalidDataset, match="needs an array `labels`"):
        run(model, rows=unlabelled)


@pytest.mark.parametrize("axes", [[6], [1, 6]])
def test_a_model_without_a_batch_is_run_row_by_row(save: Save, run: Callable[..., Measured], axes: list[int]) -> None:
    found = run(save("single.onnx", axes))
    assert found.measurement.metric.value == 0.75
    assert [entry.batch for entry in found.measurement.latencies] == [1]


def test_fifty_classes_of_which_three_are_used(save: Save, run: Callable[..., Measured]) -> None:
    assert run(save("wide.onnx", extra=47)).measurement.metric.value == 0.75


def test_fewer_rows_than_the_largest_batch(save: Save, run: Callable[..., Measured], rows: Rows) -> None:
    found = run(save("a.onnx"), rows=rows.take(np.arange(5)), batches=(1, 32))
    assert found.measurement.metric.n == 5
    assert [entry.batch for entry in found.measurement.latencies] == [1, 32]


def two_inputs() -> onnx.ModelProto:
    """Class = (number's embedding + features).argmax()."""
    table = numpy_helper.from_array(10 * np.eye(4, 3, dtype=np.float32), "table")
    nodes = [helper.make_node("Gather", ["table", "number"], ["e"]), helper.make_node("Add", ["e", "x"], ["scores"])]
    graph = helper.make_graph(
        nodes,
        "two",
        [
            helper.make_tensor_value_info("number", TensorProto.INT32, ["n"]),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["m", 3]),
        ],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["k", 3])],
        [table],
    )
    return helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 20)])


def test_two_inputs_one_of_them_whole_numbers(run: Callable[..., Measured], tmp_path: Path) -> None:
    onnx.save(two_inputs(), tmp_path / "two.onnx")
    numbers = np.arange(30) % 3
    rows = Rows({"x": np.zeros((30, 3)), "number": numbers}, numbers)
    found = run(tmp_path / "two.onnx", rows=rows, part=part_of(rows))
    assert found.measurement.metric.value == 1


def test_sources_of_other_rows_are_answered_again(save: Save, run: Callable[..., Measured]) -> None:
    model = save("a.onnx")
    stale = Evaluation(np.arange(120), np.zeros((120, 1)), np.zeros(120, np.int64))
    for source in (Source(model, None), Source(model, stale)):
        variant = run(save("b.onnx"), source=source)
        assert variant.paired is not None
        assert variant.paired.counts == PairedCounts(n=120, both=90, gained=0, lost=0)


def test_published_answers_are_used_for_the_same_rows_only(
    save: Save, run: Callable[..., Measured], rows: Rows, tmp_path: Path
) -> None:
    model = save("a.onnx")
    measured = run(model)
    measured.evaluation.save(tmp_path / "evaluation.npz")
    manifest = manifest_of(measured, signature_of(onnx.load(model)))
    part = part_of(rows)
    same = source_of(model, manifest, tmp_path / "evaluation.npz", "d", part)
    assert same.evaluation is not None
    assert np.array_equal(same.evaluation.prediction, measured.evaluation.prediction)
    assert source_of(model, manifest, tmp_path / "evaluation.npz", "other", part).evaluation is None
    fewer = Part("evaluation", "all", part.indices[:-1])
    assert source_of(model, manifest, tmp_path / "evaluation.npz", "d", fewer).evaluation is None


def manifest_of(measured: Measured, signature: Signature) -> Manifest:
    lineage = Lineage(
        tenant="t", model="m", checkpoint="r1", checkpoint_digest="", parent=None, recipe="fp32", recipe_digest="",
        steps=(), seed=0, dataset_digest="d", splits={}, tools={},
    )  # fmt: skip
    return Manifest(
        name="r1.fp32", task="classification", created_at="2026-01-01T00:00:00Z", digest="", size_bytes=1,  # type: ignore[arg-type]
        signature=signature, target="cpu", lineage=lineage, measurements=(measured.measurement,),
        verdict=Verdict.SOURCE, reason="",
    )  # fmt: skip


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"x"])
def test_other_files_are_no_evaluation(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "evaluation.npz").write_bytes(data)
    with pytest.raises(InvalidCheckpoint, match="cannot be read"):
        Evaluation.load(tmp_path / "evaluation.npz")
    np.savez(tmp_path / "evaluation.npz", rows=np.arange(3), statistics=np.zeros((2, 1)), prediction=np.zeros(3))
    with pytest.raises(InvalidCheckpoint, match="do not fit together"):
        Evaluation.load(tmp_path / "evaluation.npz")


def test_models_that_do_not_run_fail_with_a_sentence(
    save: Save, run: Callable[..., Measured], rows: Rows, tmp_path: Path
) -> None:
    model = save("a.onnx")
    (tmp_path / "bad.onnx").write_bytes(b"no")
    with pytest.raises(PassFailed, match="onnxruntime cannot load the model") as caught:
        run(tmp_path / "bad.onnx", signature=signature_of(onnx.load(model)))
    assert str(tmp_path) not in str(caught.value)
    nan = Rows({"x": np.full_like(rows.arrays["x"], np.nan)}, rows.labels)
    with pytest.raises(PassFailed, match="NaN or infinite values"):
        run(model, rows=nan)
    wrong = save("c.onnx", ["N", 6], work=8)
    loose = signature_of(onnx.load(save("d.onnx", ["N", "k"])))
    with pytest.raises(PassFailed, match=r"the model fails on inputs x \[64, 5\]"):
        run(wrong, signature=loose, rows=Rows({"x": rows.arrays["x"][:, :5]}, rows.labels))


def test_progress_and_the_lease(save: Save, run: Callable[..., Measured], tmp_path: Path) -> None:
    told: list[tuple[str, float]] = []
    run(save("a.onnx"), report=lambda message, share: told.append((message, share)), lease_file=tmp_path / "lease")
    assert (tmp_path / "lease").exists()
    assert [message for message, _ in told][-4:] == ["timing batch 1", "timing batch 8", "measuring memory", "measured"]
    shares = [share for _, share in told]
    assert shares == sorted(shares)
    assert shares[-1] == 1
