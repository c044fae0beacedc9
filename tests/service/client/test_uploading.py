from pathlib import Path
from typing import Protocol

import pytest

from service.client.client import Client
from service.client.fake.server import FakeServer
from service.client.uploading import CHUNK_BYTES, describe
from service.errors import InvalidArgument, NotFound, Unreachable


class Clock(Protocol):
    now: float


Calls = list[tuple[str, int, int]]


def test_push_sends_all_bytes_and_names_what_it_left_out(
    server: FakeServer, client: Client, checkpoint: Path, data: Path
) -> None:
    pushed = client.push("digits", checkpoint, {"all": data})
    assert pushed.checkpoint.revision == "r1"
    assert pushed.left_out == ("training_args.bin", "runs/events.txt")
    weights = checkpoint / "model.safetensors"
    assert server.state.blobs[describe("", weights).sha256] == weights.read_bytes()
    assert pushed.model.dataset is not None
    assert pushed.model.dataset.files["all"].path == "digits.npz"


def test_bytes_that_the_server_has_are_not_sent_again(client: Client, checkpoint: Path) -> None:
    client.push("digits", checkpoint)
    calls: Calls = []
    assert client.push("digits", checkpoint, progress=lambda *call: calls.append(call)).checkpoint.revision == "r2"
    assert {done for _, done, _ in calls} == {size for _, _, size in calls}


@pytest.mark.parametrize("kept_bytes", [1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES])
def test_lost_connection_costs_only_what_was_on_the_way(
    server: FakeServer, client: Client, checkpoint: Path, kept_bytes: int
) -> None:
    server.state.faults.break_upload_after_bytes = kept_bytes
    calls: Calls = []
    client.push("digits", checkpoint, progress=lambda *call: calls.append(call))
    assert server.state.faults.break_upload_after_bytes is None
    weights = checkpoint / "model.safetensors"
    assert server.state.blobs[describe("", weights).sha256] == weights.read_bytes()
    done = [done for name, done, _ in calls if name == "model.safetensors"]
    assert done[-1] == weights.stat().st_size
    # It began twice: at 0, and where the server stood.
    assert done.count(0) == 1


def test_server_that_never_comes_back_ends_the_patience(
    server: FakeServer, client: Client, clock: Clock, checkpoint: Path
) -> None:
    def stop_when_half_is_sent(name: str, done: int, size: int) -> None:
        if done > size // 2 and name == "model.safetensors":
            server.stop()

    with pytest.raises(Unreachable):
        client.push("digits", checkpoint, progress=stop_when_half_is_sent)
    # Tried for the whole patience of five seconds, and no longer.
    assert 3 < clock.now <= 5


def test_file_that_shrinks_while_it_is_sent_is_said(client: Client, checkpoint: Path) -> None:
    weights = checkpoint / "model.safetensors"

    def shrink(name: str, done: int, size: int) -> None:
        if name == "model.safetensors" and done == 0:
            weights.write_bytes(b"less")

    with pytest.raises(Exception, match="changed while it was being sent"):
        client.push("digits", checkpoint, progress=shrink)


def test_server_refuses_a_pickle_in_its_own_words(client: Client, tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(b"\x80\x04N.")
    with pytest.raises(InvalidArgument, match="pickles are refused"):
        client.push("digits", tmp_path / "net.onnx")


def test_data_files_of_one_name_stay_apart(client: Client, checkpoint: Path, tmp_path: Path) -> None:
    data = {}
    for split in ("train", "eval"):
        (tmp_path / split).mkdir()
        data[split] = tmp_path / split / "rows.npz"
        data[split].write_text(split)
    dataset = client.push("digits", checkpoint, data).model.dataset
    assert dataset is not None
    assert len({file.path for file in dataset.files.values()}) == 2


def test_unreadable_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="nowhere"):
        describe("x", tmp_path / "nowhere")


def test_models_are_listed_and_found(client: Client, checkpoint: Path) -> None:
    client.push("digits", checkpoint)
    assert [model.name for model in client.models()] == ["digits"]
    assert client.model("digits").dataset is None
    with pytest.raises(NotFound, match="letters"):
        client.model("letters")
