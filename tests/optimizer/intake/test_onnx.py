import onnx
import onnxruntime as ort
import pytest
from onnx.external_data_helper import convert_model_to_external_data

from optimizer.artifact.inspection import inspect_checkpoint
from optimizer.artifact.session import SessionSpec
from optimizer.errors import InvalidCheckpoint, PassFailed
from optimizer.intake import onnx as intake
from optimizer.intake.stages import Checkpoint


def _load(directory, out, inspect=True, inspection=None):
    files = {path.name: path for path in directory.iterdir()}
    out.mkdir()
    found = inspect_checkpoint(files) if inspect else inspection
    return intake.load(Checkpoint(files, found), out, SessionSpec())


@pytest.fixture
def external(resnet_onnx, tmp_path):
    """The residual network with its weights in a file of their own."""
    directory = tmp_path / "checkpoint"
    directory.mkdir()
    model = onnx.load(resnet_onnx.path)
    convert_model_to_external_data(model, location="weights.bin", size_threshold=0)
    onnx.save(model, directory / "model.onnx")
    return directory


def test_external_data_is_folded_in(external, resnet, resnet_onnx, tmp_path):
    loaded = _load(external, tmp_path / "out")
    assert sorted(path.name for path in loaded.path.parent.iterdir()) == ["model.onnx"]
    rows = {"pixel_values": resnet.rows.arrays["pixel_values"][:9]}
    answers = [
        ort.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, rows)[0]
        for path in (resnet_onnx.path, loaded.path)
    ]
    assert (answers[0] == answers[1]).all()
    assert loaded.signature == resnet_onnx.signature


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/passwd", "elsewhere.bin"])
def test_external_data_that_is_not_the_checkpoints_is_not_read(external, tmp_path, location):
    inspection = inspect_checkpoint({path.name: path for path in external.iterdir()})
    (tmp_path / "secret.bin").write_bytes((external / "weights.bin").read_bytes())
    model = onnx.load(external / "model.onnx", load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = location
    (external / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(InvalidCheckpoint, match="which the checkpoint lacks"):
        _load(external, tmp_path / "out", inspect=False, inspection=inspection)


@pytest.mark.parametrize(("key", "value"), [("offset", "999999999"), ("length", "-5"), ("offset", "soon")])
def test_external_data_outside_its_file_is_refused(external, tmp_path, key, value):
    inspection = inspect_checkpoint({path.name: path for path in external.iterdir()})
    model = onnx.load(external / "model.onnx", load_external_data=False)
    entries = {entry.key: entry for entry in model.graph.initializer[0].external_data}
    entries[key].value = value
    (external / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(InvalidCheckpoint, match=r"lies outside 'weights.bin', which has \d+ bytes"):
        _load(external, tmp_path / "out", inspect=False, inspection=inspection)


def test_graph_that_onnxruntime_refuses_is_a_failed_pass(resnet_onnx, tmp_path):
    directory = tmp_path / "checkpoint"
    directory.mkdir()
    model = onnx.load(resnet_onnx.path)
    inspected = {"model.onnx": resnet_onnx.path}
    inspection = inspect_checkpoint(inspected)
    model.graph.initializer[0].dims[0] += 1
    model.graph.initializer[0].raw_data += b"\0" * (len(model.graph.initializer[0].raw_data))
    (directory / "model.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(PassFailed):
        _load(directory, tmp_path / "out", inspect=False, inspection=inspection)


def test_doc_strings_and_metadata_do_not_survive(resnet_onnx, tmp_path):
    directory = tmp_path / "checkpoint"
    directory.mkdir()
    model = onnx.load(resnet_onnx.path)
    model.doc_string = "made on /home/somebody"
    model.graph.node[0].doc_string = "secret"
    onnx.helper.set_model_props(model, {"author": "somebody"})
    onnx.save(model, directory / "model.onnx")
    data = _load(directory, tmp_path / "out").path.read_bytes()
    assert b"somebody" not in data
    assert b"secret" not in data
