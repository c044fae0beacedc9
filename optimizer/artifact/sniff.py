"""Says what a file really is when it is not what it should be, from its first bytes and without opening it further."""

import zipfile
from pathlib import Path

_TO_SAFETENSORS = (
    "save the model with `model.save_pretrained(DIRECTORY)`, which writes config.json and model.safetensors"
)
_PICKLE = (
    "a pickle, which can run code and is never opened; convert it where you trust it: a state dict to "
    "model.safetensors with an architecture.json, a whole module with torch.export to .pt2, a transformers model with "
    "`model.save_pretrained(DIRECTORY)` (docs/data.md, From a pickle)"
)


def describe(path: Path) -> str | None:
    """What the file is and what to do instead, to follow "it is ..."; None when nothing known is recognised."""
    try:
        with path.open("rb") as stream:
            head = stream.read(512)
    except OSError:
        return None
    if not head:
        return "empty; perhaps the copy was cut short"
    text = head.lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html", b"<?xml")):
        return "a web page; perhaps the download went to a login or error page"
    if head.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer and not the file itself; run `git lfs pull` first"
    if head.startswith(b"PK"):
        return _describe_zip(path)
    # Protocol byte 2 to 5 of a pickle; older torch files start with its magic number in the same form.
    if head[0] == 0x80 and 2 <= head[1:2][0] <= 5 if len(head) > 1 else False:
        return _PICKLE
    for magic, answer in _MAGIC:
        if head.startswith(magic):
            return answer
    if head[4:8] == b"TFL3":
        return "a TensorFlow Lite model; Stillroom takes a Hugging Face directory, an ONNX file or a .pt2 archive"
    return None


_MAGIC = (
    (b"\x89HDF", f"an HDF5 (Keras) file; convert it to ONNX with tf2onnx, or {_TO_SAFETENSORS}"),
    (b"GGUF", "a GGUF file; Stillroom takes a Hugging Face directory, an ONNX file or a .pt2 archive"),
    (b"\x1f\x8b", "a gzip archive; unpack it first"),
    (b"BZh", "a bzip2 archive; unpack it first"),
    (b"\xfd7zXZ", "an xz archive; unpack it first"),
    (b"\x93NUMPY", "a single NumPy array; save a data set as .npz with numpy.savez, one array a model input"),
    (b"PAR1", "a Parquet file"),
)


def _describe_zip(path: Path) -> str:
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.partition("/")[2] or name for name in archive.namelist()[:1000]]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, EOFError):
        return "a damaged zip archive"
    if any(
        name in ("archive_format", "serialized_exported_program.json") or name.startswith("models/") for name in names
    ):
        return "a torch.export program; give it a name that ends in .pt2 and push it alone"
    if any(name.startswith("code/") for name in names):
        return (
            "a TorchScript archive, which carries code; export the model to ONNX with "
            "`torch.onnx.export(..., dynamo=True)` and push the .onnx file"
        )
    if "data.pkl" in names:
        return f"a torch.save file, that is {_PICKLE}"
    if names and all(name.endswith(".npy") for name in names):
        return "a NumPy archive (.npz)"
    return "a zip archive; unpack it and push what is inside"
