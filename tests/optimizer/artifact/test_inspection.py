"""Inspection as a whole: which checkpoints are taken, and the sentence for everything else."""

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from optimizer.artifact.inspection import inspect_checkpoint
from optimizer.errors import InvalidCheckpoint

Files = dict[str, Path]


def zipped(path: Path, *names: str) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return path


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("model.bin", b"", "empty; perhaps the copy was cut short"),
        ("model.bin", b"<!DOCTYPE html><html>", "a web page"),
        ("model.bin", b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        ("weights.pkl", pickle.dumps({"w": 1}), "a pickle, which can run code and is never opened"),
        ("model.h5", b"\x89HDF\r\n\x1a\n", "an HDF5"),
        ("model.gguf", b"GGUF\x03", "a GGUF file"),
        ("model.tar.gz", b"\x1f\x8b\x08", "a gzip archive; unpack it"),
        ("model.tflite", b"\x1c\0\0\0TFL3", "a TensorFlow Lite model"),
        ("x.npy", b"\x93NUMPY\x01\0", "numpy.savez"),
        ("model.dat", b"what is this", "no checkpoint was found in model.dat"),
    ],
)
def test_what_is_no_checkpoint_is_named(tmp_path: Path, name: str, data: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(InvalidCheckpoint, match=words) as caught:
        inspect_checkpoint({name: tmp_path / name})
    assert "ccepted are a Hugging Face directory" in str(caught.value)
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["m/archive_format", "m/models/model.json"], "a torch.export program; give it a name that ends in .pt2"),
        (["m/code/__torch__.py", "m/data.pkl"], "TorchScript archive"),
        (["m/data.pkl", "m/data/0"], "torch.save file, that is a pickle"),
        (["x.npy", "labels.npy"], "a NumPy archive"),
        (["readme.txt"], "a zip archive; unpack it"),
    ],
)
def test_archives_are_told_apart(tmp_path: Path, names: list[str], words: str) -> None:
    with pytest.raises(InvalidCheckpoint, match=words):
        inspect_checkpoint({"model.pt": zipped(tmp_path / "model.pt", *names)})


def test_a_cut_archive_is_damaged(tmp_path: Path) -> None:
    path = zipped(tmp_path / "model.pt", "m/data.pkl")
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(InvalidCheckpoint, match="a damaged zip archive"):
        inspect_checkpoint({"model.pt": path})


def test_no_files_and_too_many_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    with pytest.raises(InvalidCheckpoint, match="no files"):
        inspect_checkpoint({})
    with pytest.raises(InvalidCheckpoint, match="at most 1000"):
        inspect_checkpoint({f"f{number}": tmp_path / "a" for number in range(1001)})


@pytest.mark.parametrize("name", ["../config.json", "/etc/passwd", ".hidden", "a/../b", "a\\b", "", "a//b", "a\nb"])
def test_names_stay_inside(huggingface: Callable[..., Files], name: str) -> None:
    files = huggingface()
    with pytest.raises(InvalidCheckpoint, match="file name"):
        inspect_checkpoint(files | {name: files["config.json"]})


def test_links_and_folders_are_refused(huggingface: Callable[..., Files], tmp_path: Path) -> None:
    files = huggingface()
    (tmp_path / "link.json").symlink_to("/etc/hostname")
    with pytest.raises(InvalidCheckpoint, match=r"link.json is a symbolic link"):
        inspect_checkpoint(files | {"link.json": tmp_path / "link.json"})
    with pytest.raises(InvalidCheckpoint, match="not a regular file"):
        inspect_checkpoint(files | {"folder": tmp_path})


def test_both_forms_at_once_are_refused(huggingface: Callable[..., Files], tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"x")
    with pytest.raises(InvalidCheckpoint, match=r"both config.json and model.onnx"):
        inspect_checkpoint(huggingface() | {"model.onnx": tmp_path / "model.onnx"})


def test_two_graphs_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"x")
    with pytest.raises(InvalidCheckpoint, match=r"2 ONNX files are there \(a.onnx, b.onnx\)"):
        inspect_checkpoint({"b.onnx": tmp_path / "a.onnx", "a.onnx": tmp_path / "a.onnx"})


def test_weights_without_their_configuration_are_refused(huggingface: Callable[..., Files]) -> None:
    files = huggingface()
    del files["config.json"]
    with pytest.raises(InvalidCheckpoint, match=r"model.safetensors is there without its config.json"):
        inspect_checkpoint(files)


def test_an_array_file_is_no_checkpoint(tmp_path: Path) -> None:
    np.savez(tmp_path / "data.npz", x=np.zeros(3))
    with pytest.raises(InvalidCheckpoint, match="a NumPy archive"):
        inspect_checkpoint({"data.npz": tmp_path / "data.npz"})
