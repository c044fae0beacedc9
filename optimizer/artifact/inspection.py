"""Looks at an uploaded checkpoint without executing anything: accepts it and says what it is, or refuses it and why.

Four forms are accepted: a Hugging Face directory (config.json and safetensors), a plain ONNX file (with its external
data, if any, beside it), a torch.export archive (.pt2) and a state dict (safetensors) with the name of its architecture
(architecture.json). Nothing is unpickled, no code is imported, and sizes are
checked before memory is taken. What needs torch or onnxruntime to find out is found out later, in a sandbox.
"""

from collections.abc import Mapping
from pathlib import Path

from optimizer.artifact.huggingface import inspect_huggingface
from optimizer.artifact.inspected import Format, InputFacts, Inspection, Kind
from optimizer.artifact.onnx_checkpoint import inspect_onnx
from optimizer.artifact.pt2_checkpoint import inspect_pt2
from optimizer.artifact.relative_path import check_distinct
from optimizer.artifact.sniff import describe
from optimizer.artifact.state_dict import ARCHITECTURE, inspect_state_dict
from optimizer.errors import InvalidCheckpoint, InvalidInput

__all__ = ["Format", "InputFacts", "Inspection", "Kind", "inspect_checkpoint"]

_FILES = 1000
_ACCEPTED = (
    "accepted are a Hugging Face directory (config.json with model.safetensors), an ONNX file (model.onnx with its "
    "external data, if any), a torch.export archive (model.pt2) and a state dict (model.safetensors with "
    "architecture.json)"
)


def inspect_checkpoint(files: Mapping[str, Path]) -> Inspection:
    """Inspects a checkpoint given as {relative name with forward slashes: local file}.

    Reads the files, writes and starts nothing. Raises InvalidCheckpoint, whatever the files hold.
    """
    _check_files(files)
    programs = [name for name in files if name.lower().endswith(".pt2")]
    if programs and "config.json" not in files:
        return _inspect_only(programs[0], files)
    if ARCHITECTURE in files and "config.json" not in files:
        return inspect_state_dict(files)
    graphs = [name for name in files if name.lower().endswith(".onnx")]
    if "config.json" in files and graphs:
        raise InvalidCheckpoint(
            f"both config.json and {graphs[0]} are there; push either the Hugging Face files or the ONNX file"
        )
    if "config.json" in files:
        return inspect_huggingface(files)
    if len(graphs) > 1:
        raise InvalidCheckpoint(
            f"{len(graphs)} ONNX files are there ({', '.join(sorted(graphs)[:5])}); push one of them"
        )
    if graphs:
        return inspect_onnx(graphs[0], files)
    raise InvalidCheckpoint(_not_a_checkpoint(files))


def _inspect_only(program: str, files: Mapping[str, Path]) -> Inspection:
    others = sorted(set(files) - {program})
    if others:
        raise InvalidCheckpoint(f"{others[0]} lies beside {program}; push the .pt2 archive alone")
    return inspect_pt2(program, files)


def _check_files(files: Mapping[str, Path]) -> None:
    if not files:
        raise InvalidCheckpoint(f"the checkpoint has no files; {_ACCEPTED}")
    if len(files) > _FILES:
        raise InvalidCheckpoint(f"the checkpoint has {len(files)} files; at most {_FILES} are allowed")
    try:
        check_distinct(list(files))
    except InvalidInput as error:
        raise InvalidCheckpoint(str(error)) from None
    for name, path in files.items():
        if path.is_symlink():
            raise InvalidCheckpoint(f"{name} is a symbolic link; push the file itself")
        if not path.is_file():
            raise InvalidCheckpoint(f"{name} is not a regular file")


def _not_a_checkpoint(files: Mapping[str, Path]) -> str:
    weights = [name for name in files if name.endswith(".safetensors")]
    if weights:
        return f"{weights[0]} is there without its config.json or architecture.json; {_ACCEPTED}"
    for name, path in files.items():
        found = describe(path)
        if found is not None:
            return f"{name} is no checkpoint: it is {found}. {_ACCEPTED[0].upper()}{_ACCEPTED[1:]}"
    return f"no checkpoint was found in {', '.join(sorted(files)[:5])}; {_ACCEPTED}"
