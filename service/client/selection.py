"""Which files of a local path make a checkpoint.

A file is sent as it is. From a Hugging Face directory (config.json beside *.safetensors) only what a loader reads is
sent, since such directories are full of optimizer states, other frameworks' weights and exports; of a state dict only
its weights and the name of its architecture. From any other directory every file that is not hidden is sent; the server
says what it makes of them.
"""

import os
from dataclasses import dataclass
from pathlib import Path

from service.errors import InvalidArgument

# Configs, tokenizers, vocabularies and weights; never code, never a pickle.
_HUGGINGFACE = frozenset({".safetensors", ".json", ".txt", ".model", ".jinja"})
# A state dict and what it is one of.
_WEIGHTS, _ARCHITECTURE = "model.safetensors", "architecture.json"
# Files that can only be opened by running what is in them, by the endings they usually have.
PICKLES = frozenset({".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib"})


@dataclass(frozen=True)
class Selection:
    """Files to send by their relative path with forward slashes, and the paths that were left out."""

    files: dict[str, Path]
    left_out: tuple[str, ...]


def select(path: Path) -> Selection:
    """The files of a checkpoint at `path`. Raises InvalidArgument when there is nothing that could be one."""
    if path.is_file():
        if path.suffix.lower() in PICKLES:
            raise InvalidArgument(_refusal(path.name))
        return Selection({path.name: path}, ())
    if not path.is_dir():
        raise InvalidArgument(f"{path} is neither a file nor a directory")
    found = _walk(path)
    if not found:
        raise InvalidArgument(
            f"{path} holds no files; a checkpoint is a Hugging Face directory, an .onnx or a .pt2 file"
        )
    top = [name for name in found if "/" not in name]
    weights = [name for name in top if name.endswith(".safetensors")]
    if "config.json" in top and weights:
        files = {name: found[name] for name in top if Path(name).suffix in _HUGGINGFACE}
        return Selection(files, tuple(name for name in found if name not in files))
    if _ARCHITECTURE in top and _WEIGHTS in top:
        files = {name: found[name] for name in (_ARCHITECTURE, _WEIGHTS)}
        return Selection(files, tuple(name for name in found if name not in files))
    if not weights and not any(name.endswith((".onnx", ".pt2")) for name in found):
        pickles = [name for name in found if Path(name).suffix.lower() in PICKLES]
        if pickles:
            raise InvalidArgument(_refusal(f"{path} has its weights in {pickles[0]}, which"))
    return Selection(found, ())


def _refusal(what: str) -> str:
    return (
        f"{what} looks like a pickle, which can run code and is never opened; convert it where you trust it: a state "
        "dict to model.safetensors with an architecture.json, a whole module with torch.export to .pt2, a transformers "
        "model with model.save_pretrained(DIRECTORY) (docs/data.md, From a pickle)"
    )


def _walk(root: Path) -> dict[str, Path]:
    """Files below `root` that are not hidden, sorted. Links to files are followed (Hugging Face's cache is made of
    them), links to directories are not: they could lead round in a circle."""
    found = {}
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(folder) / name
            if not name.startswith(".") and path.is_file():
                found[path.relative_to(root).as_posix()] = path
    return found
