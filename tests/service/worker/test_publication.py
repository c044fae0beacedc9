"""A result is published only if every word of its manifest is true to what was asked."""

import shutil
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from optimizer.artifact.digest import of_file
from optimizer.artifact.manifest import MODEL_FILE, Against, Manifest, Verdict
from optimizer.artifact.session import SessionSpec
from optimizer.artifact.store import DirectoryStore
from optimizer.recipe.export import Export
from optimizer.recipe.keys import step_keys
from optimizer.recipe.recipe import Recipe
from optimizer.recipe.trial import BaselineRef, CheckpointRef, DatasetRef, Finished, TrialSpec
from service.errors import ResourceExhausted
from service.worker import fake_child
from service.worker.harvest import Tainted
from service.worker.publication import Claim, collect

MAX = 10**6


@pytest.fixture
def spec(tmp_path: Path) -> TrialSpec:
    """What a source's trial was asked for."""
    for name in ("checkpoint", "scratch"):
        (tmp_path / name).mkdir()
    return TrialSpec(
        tenant="default",
        model="digits",
        task="classification",
        variant="r1.fp32",
        checkpoint=CheckpointRef(
            revision="r1", digest="c" * 64, format="huggingface", directory=tmp_path / "checkpoint"
        ),
        dataset=DatasetRef(digest="d" * 64, files={}),
        recipe=Recipe(name="fp32", steps=(Export(),)),
        source=None,
        session=SessionSpec(),
        scratch=tmp_path / "scratch",
    )


@pytest.fixture
def said(spec: TrialSpec) -> Manifest:
    """The manifest of an honest result that lies in the scratch directory."""
    events: list[Any] = []
    fake_child.run(spec, events.append)
    assert isinstance(events[-1], Finished)
    return events[-1].manifest


def gather(spec: TrialSpec, manifest: Manifest, tmp_path: Path, inspector: Any) -> Claim:
    keys = step_keys(spec.recipe, fake_child.key_inputs(spec))
    return collect(manifest, spec, keys, tmp_path / "harvest", MAX, inspector)


def rewrite(spec: TrialSpec, manifest: Manifest) -> Manifest:
    """Makes the written manifest the announced one."""
    (spec.scratch / "result" / "manifest.json").write_text(manifest.model_dump_json())
    return manifest


def test_an_honest_result_is_stored_file_by_file(
    spec: TrialSpec, said: Manifest, tmp_path: Path, inspector: Any
) -> None:
    store = DirectoryStore(tmp_path / "blobs")
    manifest, files = gather(spec, said, tmp_path, inspector).store_under("r1.fp32", store)
    assert manifest == said
    by_name = {file["path"]: file for file in files}
    assert set(by_name) == {"model.onnx", "manifest.json", "golden.npz", "evaluation.npz"}
    assert by_name["model.onnx"]["sha256"] == said.digest
    for file in files:
        assert store.stat(file["sha256"]).size_bytes == file["size_bytes"]
    assert Manifest.model_validate_json(store.path(by_name["manifest.json"]["sha256"]).read_bytes()) == said


def test_curves_of_training_are_published_where_there_are_any(
    spec: TrialSpec, said: Manifest, tmp_path: Path, inspector: Any
) -> None:
    store = DirectoryStore(tmp_path / "blobs")
    (spec.scratch / "result" / "training.tfevents").write_bytes(b"curves")
    _, files = gather(spec, said, tmp_path, inspector).store_under("r1.fp32", store)
    (curves,) = (file for file in files if file["path"] == "training.tfevents")
    assert store.path(curves["sha256"]).read_bytes() == b"curves"


def test_a_result_can_be_stored_again_under_another_name(
    spec: TrialSpec, said: Manifest, tmp_path: Path, inspector: Any
) -> None:
    store = DirectoryStore(tmp_path / "blobs")
    claim = gather(spec, said, tmp_path, inspector)
    claim.store_under("r1.fp32", store)
    manifest, files = claim.store_under("r1.fp32-2", store)
    assert manifest.name == "r1.fp32-2"
    (written,) = (file for file in files if file["path"] == "manifest.json")
    assert Manifest.model_validate_json(store.path(written["sha256"]).read_bytes()).name == "r1.fp32-2"
    assert all(store.has(file["sha256"]) for file in files)


@pytest.mark.parametrize(
    ("wrong", "change"),
    [
        ("name", {"name": "r1.fp32-2"}),
        ("task", {"task": "agreement"}),
        ("digest", {"digest": "0" * 64}),
        ("size", {"size_bytes": 1}),
        ("tenant", {"lineage": {"tenant": "other"}}),
        ("model", {"lineage": {"model": "other"}}),
        ("checkpoint", {"lineage": {"checkpoint": "r2"}}),
        ("checkpoint", {"lineage": {"checkpoint_digest": "0" * 64}}),
        ("parent", {"lineage": {"parent": "r1.other"}}),
        ("recipe", {"lineage": {"recipe": "other"}}),
        ("recipe", {"lineage": {"recipe_digest": "0" * 64}}),
        ("steps", {"lineage": {"steps": ()}}),
        ("seed", {"lineage": {"seed": 1}}),
        ("data set", {"lineage": {"dataset_digest": "0" * 64}}),
        ("verdict", {"verdict": Verdict.ACCEPT}),
    ],
)
def test_an_untrue_manifest_is_refused(
    spec: TrialSpec, said: Manifest, tmp_path: Path, inspector: Any, wrong: str, change: dict[str, Any]
) -> None:
    if "lineage" in change:
        change = {"lineage": said.lineage.model_copy(update=change["lineage"])}
    lie = rewrite(spec, said.model_copy(update=change))
    with pytest.raises(Tainted, match=f"not true to the trial: {wrong}$"):
        gather(spec, lie, tmp_path, inspector)


def test_only_the_named_revision_may_be_compared_with(
    spec: TrialSpec, said: Manifest, tmp_path: Path, inspector: Any
) -> None:
    figure = said.measurements[0].metric
    against = Against(name="r0.fp32", metric=figure, difference=figure)
    measurement = said.measurements[0].model_copy(update={"against": against})
    lie = said.model_copy(update={"measurements": (measurement,)})
    (spec.scratch / "result" / "manifest.json").write_text(lie.model_dump_json())
    with pytest.raises(Tainted, match="earlier revision"):
        gather(spec, lie, tmp_path, inspector)
    named = BaselineRef(name="r0.fp32", evaluation=tmp_path, rows_digest="d", metric="accuracy")
    shutil.rmtree(tmp_path / "harvest")
    assert gather(spec.model_copy(update={"baseline": named}), lie, tmp_path, inspector).manifest == lie


def test_the_written_manifest_is_the_announced_one(
    spec: TrialSpec, said: Manifest, tmp_path: Path, inspector: Any
) -> None:
    with pytest.raises(Tainted, match="not the one that was announced"):
        gather(spec, said.model_copy(update={"reason": "better"}), tmp_path, inspector)
    (spec.scratch / "result" / "manifest.json").write_text("{")
    with pytest.raises(Tainted, match="cannot be read"):
        collect(said, spec, ["k"], tmp_path / "again", MAX, inspector)


def _with_model(spec: TrialSpec, said: Manifest, model: onnx.ModelProto | bytes) -> Manifest:
    path = spec.scratch / "result" / MODEL_FILE
    path.write_bytes(model if isinstance(model, bytes) else model.SerializeToString())
    return rewrite(spec, said.model_copy(update={"digest": of_file(path), "size_bytes": path.stat().st_size}))


def _model(*nodes: onnx.NodeProto, output: str = "scores", weights: tuple[onnx.TensorProto, ...] = ()) -> Any:
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info(output, TensorProto.FLOAT, ["batch", 4])],
        list(weights),
    )
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 20), helper.make_opsetid("evil", 1)], ir_version=10
    )


def _external() -> onnx.TensorProto:
    tensor = helper.make_tensor("w", TensorProto.FLOAT, [4], [0.0] * 4)
    tensor.ClearField("float_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../../../etc/shadow")
    return tensor


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(b"no model at all", id="not a model"),
        pytest.param(
            _model(helper.make_node("Add", ["features", "w"], ["scores"]), weights=(_external(),)), id="external"
        ),
        pytest.param(_model(helper.make_node("Run", ["features"], ["scores"], domain="evil")), id="custom operator"),
    ],
)
def test_a_model_that_an_engine_must_not_open_is_refused(
    spec: TrialSpec, said: Manifest, tmp_path: Path, inspector: Any, model: Any
) -> None:
    with pytest.raises(Tainted, match="the model cannot be served"):
        gather(spec, _with_model(spec, said, model), tmp_path, inspector)


def test_a_model_with_another_signature_is_refused(
    spec: TrialSpec, said: Manifest, tmp_path: Path, inspector: Any
) -> None:
    other = _model(helper.make_node("Identity", ["features"], ["other"]), output="other")
    with pytest.raises(Tainted, match="not those of its signature"):
        gather(spec, _with_model(spec, said, other), tmp_path, inspector)


def test_a_variant_for_another_device_has_no_answers_to_keep(
    spec: TrialSpec, said: Manifest, tmp_path: Path, inspector: Any
) -> None:
    (spec.scratch / "result" / "evaluation.npz").unlink()
    unmeasured = rewrite(spec, said.model_copy(update={"measurements": ()}))
    assert set(gather(spec, unmeasured, tmp_path, inspector).files) == {"model.onnx", "golden.npz"}


def test_a_linked_file_is_refused(spec: TrialSpec, said: Manifest, tmp_path: Path, inspector: Any) -> None:
    (tmp_path / "secret").write_text("secret")
    golden = spec.scratch / "result" / "golden.npz"
    golden.unlink()
    golden.symlink_to(tmp_path / "secret")
    with pytest.raises(Tainted, match=r"'golden\.npz' is not a regular file"):
        gather(spec, said, tmp_path, inspector)


class Moody:
    """Its process is killed a number of times before it answers."""

    def __init__(self, real: Any, deaths: int) -> None:
        self._real = real
        self._deaths = deaths

    def inspect(self, *question: Any) -> Any:
        self._deaths -= 1
        if self._deaths >= 0:
            raise ResourceExhausted("too much memory or time")
        return self._real.inspect(*question)


def test_an_inspection_that_was_killed_is_repeated(
    spec: TrialSpec, said: Manifest, tmp_path: Path, inspector: Any
) -> None:
    assert gather(spec, said, tmp_path, Moody(inspector, 2)).manifest == said
    (tmp_path / "harvest").rename(tmp_path / "first")
    with pytest.raises(Tainted, match="cannot be served: too much memory"):
        gather(spec, said, tmp_path, Moody(inspector, 3))
