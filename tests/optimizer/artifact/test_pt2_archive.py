"""Archives of torch.export: what is in them is told, and hostile ones are refused without running anything."""

import io
import json
import logging
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from optimizer.artifact.inspected import Inspection
from optimizer.artifact.inspection import inspect_checkpoint
from optimizer.artifact.pt2_archive import read_archive, read_tensors
from optimizer.errors import InvalidCheckpoint
from optimizer.intake import pt2
from optimizer.intake.stages import Checkpoint

MODEL = "models/model.json"
WEIGHTS = "data/weights/model_weights_config.json"
CONSTANTS = "data/constants/model_constants_config.json"
SAMPLES = "data/sample_inputs/model.pt"


class Touch:
    """A pickle that leaves a file behind when it is opened."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


Spoil = Callable[..., Path]


@pytest.fixture
def spoilt(recorded_recommender: Any, tmp_path: Path) -> Spoil:
    """Writes a good archive anew with members replaced (bytes), edited (a function of the JSON) or added."""

    def write(changes: dict[str, Any], **options: Any) -> Path:
        path = tmp_path / "model.pt2"
        with (
            zipfile.ZipFile(recorded_recommender.directory / "model.pt2") as good,
            zipfile.ZipFile(path, "w", **options) as bad,
        ):
            left = dict(changes)
            for info in good.infolist():
                root, _, member = info.filename.partition("/")
                data = good.read(info)
                change = left.pop(member, None)
                if callable(change):
                    value = json.loads(data)
                    change(value)
                    data = json.dumps(value).encode()
                elif change is not None:
                    data = change
                bad.writestr(f"{root}/{member}", data)
            for member, data in left.items():
                bad.writestr(f"{root}/{member}", data)
        return path

    return write


def inspected(path: Path) -> Inspection:
    return inspect_checkpoint({"model.pt2": path})


def loaded(path: Path, sample: Any) -> Any:
    """Opens `path` as if it had passed inspection."""
    return pt2.load(Checkpoint({"model.pt2": path}, sample.checkpoint.inspection), sample.rows)


def test_inputs_outputs_and_tables_are_told(recorded_recommender: Any, recorded_residual: Any) -> None:
    found = recorded_recommender.checkpoint.inspection
    assert found.format == "pt2"
    assert {name: (facts.datatype, facts.shape) for name, facts in found.inputs.items()} == {
        "user": ("INT64", ("batch",)),
        "item": ("INT64", ("batch",)),
    }
    assert [facts.maximum for facts in found.inputs.values()] == [49, 59]
    assert found.classes == 1
    assert found.operators["embedding"] == 2
    pictures = recorded_residual.checkpoint.inspection
    assert pictures.inputs["picture"].shape == ("batch", 1, 16, 16)
    assert (pictures.classes, pictures.attention) == (4, False)


def test_an_encoder_has_attention_and_a_fixed_length(recorded_encoder: Any) -> None:
    found = recorded_encoder.checkpoint.inspection
    assert found.attention
    assert found.inputs["input_ids"].shape == ("batch", 12)
    assert found.inputs["input_ids"].maximum == 39


def test_weights_are_read_as_torch_wrote_them(recorded_recommender: Any) -> None:
    path = recorded_recommender.directory / "model.pt2"
    archive = read_archive(path, "model.pt2")
    program = torch.export.load(path)
    arrays = read_tensors(path, archive.weights)
    assert arrays.keys() == program.state_dict.keys()
    for name, tensor in program.state_dict.items():
        np.testing.assert_array_equal(arrays[name], tensor.detach().numpy())


def test_pickled_sample_inputs_are_never_opened(
    spoilt: Spoil, recorded_recommender: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = tmp_path / "ran"
    stream = io.BytesIO()
    torch.save(Touch(marker), stream)
    path = spoilt({SAMPLES: stream.getvalue()})
    inspected(path)
    loaded(path, recorded_recommender)
    assert not marker.exists()
    # The attack is a real one: torch's own loader runs it. (Its warning cannot be formatted.)
    monkeypatch.setattr(logging.getLogger("torch._export.serde.serialize"), "disabled", True)
    with pytest.raises(AssertionError, match="expected tuple or dict"):
        torch.export.load(path)
    assert marker.exists()


def test_weights_marked_as_pickles_are_refused(spoilt: Spoil, recorded_recommender: Any, tmp_path: Path) -> None:
    marker = tmp_path / "ran"

    def flag(config: dict[str, Any]) -> None:
        config["config"]["users.weight"] |= {"use_pickle": True, "tensor_meta": None}

    stream = io.BytesIO()
    torch.save(Touch(marker), stream)
    path = spoilt({WEIGHTS: flag, "data/weights/weight_0": stream.getvalue()})
    for open_it in (inspected, lambda bad: loaded(bad, recorded_recommender)):
        with pytest.raises(InvalidCheckpoint, match=r"stored as a pickle, which can run code"):
            open_it(path)
    assert not marker.exists()


def test_expressions_that_run_code_are_refused(spoilt: Spoil, recorded_recommender: Any, tmp_path: Path) -> None:
    marker = tmp_path / "ran"

    def infect(program: dict[str, Any]) -> None:
        values = program["graph_module"]["graph"]["tensor_values"]
        values["user"]["sizes"][0]["as_expr"]["expr_str"] = f"open({str(marker)!r}, 'w')"

    path = spoilt({MODEL: infect})
    for open_it in (inspected, lambda bad: loaded(bad, recorded_recommender)):
        with pytest.raises(InvalidCheckpoint, match="expressions can run code"):
            open_it(path)
    assert not marker.exists()


def test_expressions_are_found_wherever_they_lie(spoilt: Spoil) -> None:
    def infect(program: dict[str, Any]) -> None:
        program["graph_module"]["graph"]["sym_int_values"]["x"] = {"as_expr": {"expr_str": "exec('1')", "hint": None}}

    with pytest.raises(InvalidCheckpoint, match="expressions can run code"):
        inspected(spoilt({MODEL: infect}))


def test_custom_objects_are_refused(spoilt: Spoil, tmp_path: Path) -> None:
    path = spoilt({"data/constants/custom_obj_0": pickle.dumps(Touch(tmp_path / "ran"))})
    with pytest.raises(InvalidCheckpoint, match="a custom object, which is a pickle"):
        inspected(path)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("member", "words"),
    [
        ("data/aotinductor/model/a.so", "compiled code, which is never loaded"),
        ("data/weights/model.pt", "weights in a pickle"),
        ("../escape", "nothing that torch.export.save writes"),
        ("models/other.json", "must be called model"),
        ("data/weights/weight_../../x", "nothing that torch.export.save writes"),
    ],
)
def test_members_outside_the_list_are_refused(spoilt: Spoil, member: str, words: str) -> None:
    with pytest.raises(InvalidCheckpoint, match=words):
        inspected(spoilt({member: b"x"}))


@pytest.mark.parametrize(
    "target",
    [
        "torch.hub.load", "torch.load", "torch.ops.aten.from_file.default", "torch.ops.mylib.op.default",
        "torch.ops.higher_order.cond", "#extension:op", "_operator.methodcaller", "torch.ops.aten._cudnn_init.default",
        "math.__loader__", 7,
    ],
)  # fmt: skip
def test_operations_outside_aten_are_refused(spoilt: Spoil, target: Any) -> None:
    def infect(program: dict[str, Any]) -> None:
        program["graph_module"]["graph"]["nodes"][0]["target"] = target

    with pytest.raises(InvalidCheckpoint, match="which is not accepted; allowed are the public operations of ATen"):
        inspected(spoilt({MODEL: infect}))


@pytest.mark.parametrize("name", ["x; import os", "self.y", "a b", "", "x\n", None])
def test_names_that_are_code_are_refused(spoilt: Spoil, name: Any) -> None:
    def infect(program: dict[str, Any]) -> None:
        program["graph_module"]["graph"]["nodes"][0]["outputs"] = [{"as_tensor": {"name": name}}]

    with pytest.raises(InvalidCheckpoint, match="is damaged"):
        inspected(spoilt({MODEL: infect}))


def test_compressed_members_are_refused(spoilt: Spoil) -> None:
    with pytest.raises(InvalidCheckpoint, match="compressed or encrypted"):
        inspected(spoilt({"data/weights/weight_9": bytes(10**6)}, compression=zipfile.ZIP_DEFLATED))


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_that_occurs_twice_is_refused(spoilt: Spoil) -> None:
    path = spoilt({})
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"{archive.namelist()[0].partition('/')[0]}/{MODEL}", b"{}")
    with pytest.raises(InvalidCheckpoint, match=r"holds 'models/model\.json' twice"):
        inspected(path)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("sizes", [{"as_int": 10**9}, {"as_int": 8}]),
        ("strides", [{"as_int": 10**6}, {"as_int": 1}]),
        ("storage_offset", {"as_int": 10**6}),
        ("sizes", [{"as_int": -1}, {"as_int": 8}]),
        ("sizes", [{"as_int": True}, {"as_int": 8}]),
        ("dtype", 99),
        ("layout", 1),
    ],
)
def test_tensors_that_leave_their_bytes_are_refused(spoilt: Spoil, key: str, value: Any) -> None:
    def infect(config: dict[str, Any]) -> None:
        config["config"]["users.weight"]["tensor_meta"][key] = value

    with pytest.raises(InvalidCheckpoint, match=r"tensor 'users\.weight'"):
        inspected(spoilt({WEIGHTS: infect}))


def test_one_value_cannot_fill_memory(spoilt: Spoil) -> None:
    def infect(config: dict[str, Any]) -> None:
        meta = config["config"]["users.weight"]["tensor_meta"]
        meta["sizes"], meta["strides"] = [{"as_int": 10**6}, {"as_int": 10**6}], [{"as_int": 0}, {"as_int": 0}]

    with pytest.raises(InvalidCheckpoint, match="reaches beyond"):
        inspected(spoilt({WEIGHTS: infect}))


@pytest.mark.parametrize("member", [MODEL, WEIGHTS, CONSTANTS, "archive_version"])
@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b'{"config": 7}', b"\xff", b'{"a": 1, "a": 2}'])
def test_damaged_members_are_refused(spoilt: Spoil, member: str, data: bytes) -> None:
    with pytest.raises(InvalidCheckpoint):
        inspected(spoilt({member: data}))


def test_a_weight_that_is_not_there_is_named(spoilt: Spoil) -> None:
    with pytest.raises(InvalidCheckpoint, match=r"lacks the values of 'users\.weight'"):
        inspected(spoilt({WEIGHTS: lambda config: config["config"].pop("users.weight")}))


def test_other_files_beside_it_are_refused(recorded_recommender: Any, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("x")
    files = {"model.pt2": recorded_recommender.directory / "model.pt2", "a.py": tmp_path / "a.py"}
    with pytest.raises(InvalidCheckpoint, match=r"a\.py lies beside model\.pt2"):
        inspect_checkpoint(files)


def test_a_cut_archive_is_damaged(spoilt: Spoil) -> None:
    path = spoilt({})
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InvalidCheckpoint, match="a damaged zip archive"):
        inspected(path)


def test_an_operation_called_wrongly_is_refused(spoilt: Spoil, recorded_recommender: Any) -> None:
    def infect(program: dict[str, Any]) -> None:
        nodes = program["graph_module"]["graph"]["nodes"]
        next(node for node in nodes if "dropout" in node["target"])["inputs"].pop(0)

    with pytest.raises(InvalidCheckpoint, match="an operation is called wrongly"):
        loaded(spoilt({MODEL: infect}), recorded_recommender)


def test_one_tensor_passed_for_two_inputs_is_told(record: Any, tmp_path: Path) -> None:
    class Ignores(torch.nn.Module):
        def forward(self, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
            return first * 2

    ones = np.ones((4, 3), np.float32)
    sample = record(Ignores(), {"first": ones, "second": ones}, tmp_path, batch=False)
    with pytest.raises(InvalidCheckpoint, match="never reads its input 'second'"):
        inspected(sample.directory / "model.pt2")
