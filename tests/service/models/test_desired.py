import os

import pytest

from optimizer.artifact.session import SessionSpec
from service.errors import InvalidArgument
from service.models import desired
from service.wire.stillroom.internal.v1.engine_service_pb2 import DesiredState, HeldVariant

SIGNATURE = (
    '{"inputs":[{"name":"x","datatype":"FP32","shape":["batch",2]}],'
    '"outputs":[{"name":"y","datatype":"FP32","shape":["batch",2]}]}'
)


def held(**changes: object) -> HeldVariant:
    values: dict[str, object] = {
        "tenant": "default",
        "model": "mnist",
        "variant": "r1.fp32",
        "model_path": "/somewhere/model.onnx",
        "digest": "ab" * 32,
        "signature_json": SIGNATURE,
        "labels": {"accuracy": "0.98"},
    }
    return HeldVariant(**(values | changes))


def test_a_message_becomes_a_description() -> None:
    description = desired.describe(held(source=True), SessionSpec(intra_op_threads=3))
    assert description.key == ("default", "mnist", "r1.fp32", "ab" * 32)
    assert (description.source, description.golden_path) == (True, None)
    assert description.signature.batched
    assert description.session.intra_op_threads == 3
    assert description.labels == (("accuracy", "0.98"),)
    given = desired.describe(held(session_json='{"intra_op_threads": 2}', golden_path="/g"), SessionSpec())
    assert (given.session.intra_op_threads, str(given.golden_path)) == (2, "/g")


@pytest.mark.parametrize(
    "changes",
    [
        {"tenant": ""}, {"model": ""}, {"variant": ""}, {"model_path": ""}, {"digest": "xyz"},
        {"signature_json": "{}"}, {"signature_json": "nonsense"}, {"session_json": '{"target": "tpu"}'},
    ],
)  # fmt: skip
def test_a_message_that_lacks_something_is_refused(changes) -> None:
    with pytest.raises(InvalidArgument):
        desired.describe(held(**changes), SessionSpec())


def test_the_copy_is_whole_and_replaces_the_old_one(tmp_path) -> None:
    path = tmp_path / "desired.binpb"
    assert desired.restore(path) is None
    for version in (1, 2):
        state = DesiredState(version=version, variants=[held()])
        desired.save(state, path)
        assert desired.restore(path) == state
    assert os.listdir(tmp_path) == ["desired.binpb"]
    path.write_bytes(b"\xff\xff nonsense")
    assert desired.restore(path) is None


def test_a_failed_save_leaves_the_old_copy(tmp_path) -> None:
    path = tmp_path / "folder"
    path.mkdir()
    with pytest.raises(OSError, match="folder"):
        desired.save(DesiredState(version=1), path)
    assert os.listdir(tmp_path) == ["folder"]
