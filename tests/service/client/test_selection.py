from pathlib import Path

import pytest

from service.client.selection import select
from service.errors import InvalidArgument


def test_huggingface_directory_sends_only_what_a_loader_reads(checkpoint: Path) -> None:
    chosen = select(checkpoint)
    assert sorted(chosen.files) == ["config.json", "model.safetensors"]
    assert chosen.left_out == ("training_args.bin", "runs/events.txt")


def test_single_file_is_sent_under_its_name(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(b"onnx")
    assert select(tmp_path / "net.onnx").files == {"net.onnx": tmp_path / "net.onnx"}


def test_onnx_directory_sends_its_external_data(tmp_path: Path) -> None:
    (tmp_path / "weights").mkdir()
    for name in ("net.onnx", "weights/part0"):
        (tmp_path / name).write_bytes(b"x")
    assert sorted(select(tmp_path).files) == ["net.onnx", "weights/part0"]


def test_links_to_files_are_followed_and_links_to_directories_are_not(tmp_path: Path) -> None:
    blobs = tmp_path / "blobs"
    blobs.mkdir()
    (blobs / "abc").write_text("{}")
    snapshot = tmp_path / "snapshot"
    snapshot.mkdir()
    (snapshot / "config.json").symlink_to(blobs / "abc")
    (snapshot / "round").symlink_to(snapshot)
    assert sorted(select(snapshot).files) == ["config.json"]


def test_pickled_weights_are_refused_before_they_are_sent(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04N.")
    with pytest.raises(InvalidArgument, match=r"pytorch_model\.bin, which looks like a pickle.*save_pretrained"):
        select(tmp_path)


@pytest.mark.parametrize("name", ["missing", "empty"])
def test_nothing_to_send_is_said(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidArgument, match=name):
        select(tmp_path / name)


def test_a_state_dict_is_sent_with_its_architecture_alone(tmp_path: Path) -> None:
    for name in ("architecture.json", "model.safetensors", "model.py", "model.pth"):
        (tmp_path / name).write_bytes(b"x")
    chosen = select(tmp_path)
    assert sorted(chosen.files) == ["architecture.json", "model.safetensors"]
    assert sorted(chosen.left_out) == ["model.pth", "model.py"]


@pytest.mark.parametrize("name", ["model.pth", "model.PT", "pytorch_model.bin", "last.ckpt", "model.pkl"])
def test_a_pickle_alone_is_refused_with_what_to_do(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"\x80\x04N.")
    with pytest.raises(InvalidArgument) as raised:
        select(tmp_path / name)
    assert str(raised.value).startswith(f"{name} looks like a pickle, which can run code and is never opened; convert")
