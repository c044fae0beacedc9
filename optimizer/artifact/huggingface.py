"""Inspects a Hugging Face directory: its configuration, its safetensors files, and that nothing else could be code."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from optimizer.artifact.huggingface_config import facts_of
from optimizer.artifact.inspected import Inspection
from optimizer.artifact.safetensors_header import BadSafetensors, TensorEntry, read_header
from optimizer.artifact.sniff import describe
from optimizer.artifact.strict_json import NotStrictJson, parse
from optimizer.errors import InvalidCheckpoint

_JSON_BYTES = 16 * 2**20
_CONFIG_BYTES = 2**20
_WEIGHTS = "model.safetensors"
_INDEX = "model.safetensors.index.json"
_SHARD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\.safetensors")

# Files that are data and stay unread; and those whose JSON some library would follow to code.
_HARMLESS_SUFFIXES = (
    ".json",
    ".txt",
    ".md",
    ".model",
    ".spm",
    ".png",
    ".jpg",
    ".jpeg",
    ".svg",
    ".csv",
    ".yaml",
    ".yml",
)
_HARMLESS_NAMES = ("license", "notice", "readme")
_READ_BY_LIBRARIES = re.compile(r"(.*_)?config\.json")
_NAMES_CODE = ("auto_map", "custom_code", "trust_remote_code", "custom_pipelines")

# What Trainer leaves beside a model, and nobody needs to serve it.
_LEFTOVERS = ("training_args.bin", "optimizer.pt", "scheduler.pt", "scaler.pt", "rng_state.pth", "optimizer.bin")
_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".npy", ".npz", ".dill", ".ot")
_CODE = (".py", ".pyc", ".pyx", ".so", ".dll", ".dylib", ".sh", ".exe", ".js", ".ipynb", ".jar", ".whl", ".jinja")
_OTHER_MODELS = (".h5", ".hdf5", ".keras", ".msgpack", ".pb", ".tflite", ".gguf", ".pt2", ".onnx", ".mlmodel")


def inspect_huggingface(files: Mapping[str, Path]) -> Inspection:
    """Inspects the files of a directory that has a config.json. Raises InvalidCheckpoint."""
    for name, path in sorted(files.items()):
        _check_name(name, path)
    for name, path in sorted(files.items()):
        if _READ_BY_LIBRARIES.fullmatch(name.rpartition("/")[2]):
            refuse_remote_code(name, _read_json(path, name, _CONFIG_BYTES if name == "config.json" else _JSON_BYTES))
    config = _read_json(files["config.json"], "config.json", _CONFIG_BYTES)
    weights = _weights(files)
    tensors = sum(len(header) for header in weights.values())
    if not tensors:
        raise InvalidCheckpoint("the safetensors files hold no weights")
    return facts_of(config).model_copy(update={"weights_bytes": sum(files[name].stat().st_size for name in weights)})


def _check_name(name: str, path: Path) -> None:
    base = name.rpartition("/")[2].lower()
    suffix = Path(base).suffix
    if suffix == ".safetensors" or suffix in _HARMLESS_SUFFIXES or base.split(".")[0] in _HARMLESS_NAMES:
        if base == "adapter_config.json":
            raise InvalidCheckpoint(
                f"{name} belongs to an adapter, which points at another model; merge it first "
                "(`model.merge_and_unload()`) and save the whole model"
            )
        return
    if base in _LEFTOVERS or base.startswith("rng_state"):
        raise InvalidCheckpoint(f"{name} is left over from training and may hold a pickle; leave it out")
    if suffix in _PICKLES:
        raise InvalidCheckpoint(
            f"{name} may hold a pickle, which can run code and is never opened; save the weights as safetensors "
            "(`model.save_pretrained(DIRECTORY)`) and leave it out"
        )
    if suffix in _CODE:
        raise InvalidCheckpoint(
            f"{name} is code, which is never executed; only models of transformers itself are accepted"
        )
    if suffix in _OTHER_MODELS:
        raise InvalidCheckpoint(f"{name} is a model of another format; leave it out, or push it alone if it is ONNX")
    found = describe(path)
    raise InvalidCheckpoint(
        f"{name} is not accepted in a Hugging Face directory{'' if found is None else f' (it is {found})'}; allowed "
        f"are config.json, *.safetensors, and files ending in {', '.join(_HARMLESS_SUFFIXES)}"
    )


def _read_json(path: Path, name: str, limit_bytes: int) -> dict[str, Any]:
    if path.stat().st_size > limit_bytes:
        raise InvalidCheckpoint(f"{name} is {path.stat().st_size} bytes long; at most {limit_bytes} are allowed")
    try:
        value = parse(path.read_bytes(), limit_bytes=limit_bytes)
    except NotStrictJson as error:
        found = describe(path)
        raise InvalidCheckpoint(f"{name} {error}{'' if found is None else f'; it is {found}'}") from None
    if not isinstance(value, dict):
        raise InvalidCheckpoint(f"{name} must hold a JSON object")
    return value


def refuse_remote_code(name: str, value: Any) -> None:
    """Raises InvalidCheckpoint when the JSON value of file `name` names code that a library would run."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            for key in _NAMES_CODE:
                if item.get(key):
                    raise InvalidCheckpoint(
                        f"{name} names code of its own ({key!r}), which is never executed; only models of transformers "
                        "itself are accepted"
                    )
            waiting.extend(item.values())
        elif isinstance(item, list):
            waiting.extend(item)


def _weights(files: Mapping[str, Path]) -> dict[str, dict[str, TensorEntry]]:
    """Headers of the weight files by name: the one file, or all shards that the index names."""
    present = sorted(name for name in files if name.endswith(".safetensors"))
    if _INDEX in files:
        if _WEIGHTS in files:
            raise InvalidCheckpoint(f"both {_WEIGHTS} and {_INDEX} are there; keep the one that is meant")
        shards = _shards(_read_json(files[_INDEX], _INDEX, _JSON_BYTES))
        missing = sorted(set(shards) - set(files))
        if missing:
            raise InvalidCheckpoint(f"{_INDEX} names {missing[0]}, which is not among the files")
    elif _WEIGHTS in files:
        shards = {_WEIGHTS: set()}
    else:
        named = f" (found {', '.join(present[:3])})" if present else ""
        raise InvalidCheckpoint(
            f"{_WEIGHTS} is missing{named}; save the model with `model.save_pretrained(DIRECTORY)`, "
            f"which writes it (large models: {_INDEX} and its shards)"
        )
    superfluous = sorted(set(present) - set(shards))
    if superfluous:
        raise InvalidCheckpoint(
            f"{superfluous[0]} belongs to nothing; the weights are in {', '.join(sorted(shards)[:3])}"
        )
    headers = {name: _header(files[name], name) for name in shards}
    for name, promised in shards.items():
        absent = sorted(promised - set(headers[name]))
        if absent:
            raise InvalidCheckpoint(f"{_INDEX} looks for tensor {absent[0][:80]!r} in {name}, which does not hold it")
    return headers


def _shards(index: dict[str, Any]) -> dict[str, set[str]]:
    mapping = index.get("weight_map")
    if not isinstance(mapping, dict) or not mapping:
        raise InvalidCheckpoint(f"{_INDEX} has no weight_map from tensor names to files")
    shards: dict[str, set[str]] = {}
    for tensor, file in mapping.items():
        if not isinstance(file, str) or _SHARD.fullmatch(file) is None:
            raise InvalidCheckpoint(f"{_INDEX} names the file {str(file)[:80]!r}; shards are *.safetensors beside it")
        shards.setdefault(file, set()).add(tensor)
    return shards


def _header(path: Path, name: str) -> dict[str, TensorEntry]:
    try:
        return read_header(path)
    except BadSafetensors as error:
        found = describe(path)
        raise InvalidCheckpoint(f"{name} {error}{'' if found is None else f'; it is {found}'}") from None
