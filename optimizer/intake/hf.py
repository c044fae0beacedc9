"""Opens a Hugging Face directory (config.json and safetensors) as a torch model, without running any of its code.

Only config.json and the safetensors files are shown to the library, through a fresh directory of links, so nothing else
that lies in the checkpoint (Python files, pickles, adapters) can be found by it. Weights must fit exactly.
"""

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

from optimizer.artifact.inspected import Inspection, Kind
from optimizer.artifact.rows import Rows
from optimizer.artifact.signature import BATCH, TensorSpec
from optimizer.artifact.task import Task, needs_new_head
from optimizer.errors import InvalidCheckpoint, InvalidDataset, UnsupportedModel
from optimizer.intake.heads import classifier_family, family_of, with_head
from optimizer.intake.stages import EMBEDDING, LOGITS, Checkpoint, TorchModel

_CONFIG = "config.json"
_HEAD_SEED = 0
# A body's pooler is not asked: an embedding is the mean over tokens.
_UNUSED = ("pooler.",)
# Explicit eager attention: the plain operations fuse well and never load a kernel that a config names.
_ATTENTION = "eager"
# Keys of a config that make the library run, fetch or decompress something.
_REFUSED = ("auto_map", "custom_pipelines", "quantization_config", "compression_config")

# What the library raises for configs and weights that contradict themselves or each other.
LIBRARY_ERRORS = (
    OSError, RuntimeError, TypeError, ValueError, KeyError, AttributeError, IndexError, OverflowError,
    ZeroDivisionError, StrictDataclassError, SafetensorError,
)  # fmt: skip


def load(checkpoint: Checkpoint, rows: Rows, task: Task | None = None) -> TorchModel:
    """The checkpoint's network with its weights; the inputs are those that `rows` hold, in that order.

    A body without a head gets a new one where `task` has labels: as wide as the labels of `rows`, its weights drawn
    from a fixed seed. Raises InvalidCheckpoint for a config or weights that do not fit, UnsupportedModel for an
    architecture that the library does not have, InvalidDataset for rows that leave out an input.
    """
    inspection = checkpoint.inspection
    config = json.loads(checkpoint.files[_CONFIG].read_text())
    new_head = needs_new_head(inspection, task)
    if new_head:
        config = with_head(config, inspection, task, rows)
    family, parsed = parse(config, inspection.kind)
    with tempfile.TemporaryDirectory(prefix="checkpoint-") as directory:
        for name, file in checkpoint.files.items():
            if name == _CONFIG or name.endswith((".safetensors", ".safetensors.index.json")):
                link = Path(directory, name)
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(file.resolve())
        network = _with_weights(family, parsed, directory, new_head)
    output = EMBEDDING if inspection.head == "embedding" and not new_head else LOGITS
    return TorchModel(network.eval(), config, _inputs(inspection, rows), dict(inspection.limits), output)


def build(config: Mapping[str, Any], kind: Kind) -> torch.nn.Module:
    """A network of this config with fresh weights; a config without an architecture is a classifier of `kind`."""
    family, parsed = parse(config, kind)
    network: torch.nn.Module = family.from_config(parsed, attn_implementation=_ATTENTION, trust_remote_code=False)
    return network.float().eval()


def parse(config: Mapping[str, Any], kind: Kind) -> tuple[Any, Any]:
    """The library's class for this architecture, and the config in the library's form."""
    refused = [key for key in _REFUSED if config.get(key)]
    if refused:
        raise InvalidCheckpoint(f"config.json sets {', '.join(refused)}, which is not allowed")
    model_type = str(config.get("model_type", ""))
    named = config.get("architectures")
    family = family_of(str(named[0]), kind) if named else classifier_family(kind)
    if model_type not in family.known():
        raise UnsupportedModel(
            f"model type {model_type[:80]!r} has no {family.what} in transformers {transformers.__version__}; export "
            "the model to ONNX and push the .onnx file"
        )
    values = {key: value for key, value in config.items() if key not in ("model_type", "attn_implementation")}
    # Classes are numbers here, and 32-bit floats whatever the weights are stored in.
    values.pop("torch_dtype", None)
    values.pop("dtype", None)
    try:
        parsed = transformers.AutoConfig.for_model(model_type, **values)
    except LIBRARY_ERRORS as error:
        raise InvalidCheckpoint(f"config.json does not describe a {model_type!r} model: {_short(error)}") from error
    parsed.return_dict = True
    # Answers of earlier calls are kept by whoever generates text, never by a graph that is served.
    parsed.use_cache = False
    # Parts of an audio input are blanked at random in training, by a generator that no seed of ours reaches.
    parsed.apply_spec_augment = False
    return family.library(), parsed


def _with_weights(family: Any, parsed: Any, directory: str, new_head: bool) -> torch.nn.Module:
    try:
        # The weights of a new head are drawn here.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(_HEAD_SEED)
            network, report = _opened(family, parsed, directory)
    except LIBRARY_ERRORS as error:
        reason = _short(error).replace(directory, "the checkpoint")
        raise InvalidCheckpoint(f"config.json and the weights do not make a model: {reason}") from error
    body = f"{getattr(network, 'base_model_prefix', '')}."
    missing = [
        key
        for key in report["missing_keys"]
        # No answer of ours comes from a pooler; and a new head has no weights to be found.
        if not (
            key.startswith(_UNUSED) or (new_head and (not key.startswith(body) or key.startswith(f"{body}pooler.")))
        )
    ]
    unexpected = [key for key in report["unexpected_keys"] if not (new_head and key.startswith(_UNUSED))]
    problems = [
        f"{len(keys)} {what} ({', '.join(keys[:5])}{', ...' if len(keys) > 5 else ''})"
        for what, keys in (
            ("missing weights", sorted(missing)),
            ("weights that the model does not have", sorted(unexpected)),
            ("weights of another shape", sorted(str(_first(key)) for key in report["mismatched_keys"])),
        )
        if keys
    ]
    if problems:
        raise InvalidCheckpoint(
            f"the weights are not those of the {parsed.model_type!r} model in config.json: {'; '.join(problems)}"
        )
    model: torch.nn.Module = network
    return model


def _opened(family: Any, parsed: Any, directory: str) -> tuple[Any, dict[str, Any]]:
    network, report = family.from_pretrained(
        directory,
        config=parsed,
        attn_implementation=_ATTENTION,
        dtype=torch.float32,
        local_files_only=True,
        use_safetensors=True,
        trust_remote_code=False,
        ignore_mismatched_sizes=True,
        output_loading_info=True,
    )
    return network, report


def _first(key: Any) -> Any:
    return key if isinstance(key, str) else key[0]


def _inputs(inspection: Inspection, rows: Rows) -> tuple[TensorSpec, ...]:
    missing = [name for name, facts in inspection.inputs.items() if facts.required and name not in rows.arrays]
    if missing:
        raise InvalidDataset(f"the data lacks the arrays {', '.join(missing)}, which the model takes")
    specs = []
    for name, array in rows.arrays.items():
        facts = inspection.inputs[name]
        known: Sequence[int | str] = facts.shape or (BATCH, *array.shape[1:])
        # A picture's size is the data's, fixed; a text's length stays free.
        fixed = inspection.kind != "text"
        shape = tuple(
            size if fixed and isinstance(axis, str) else axis
            for axis, size in zip(known[1:], array.shape[1:], strict=True)
        )
        specs.append(TensorSpec(name=name, datatype=facts.datatype, shape=(BATCH, *shape)))
    return tuple(specs)


def _short(error: BaseException) -> str:
    """The first line of what a library first complained of, shortened, for the model's owner."""
    while error.__cause__ is not None:
        error = error.__cause__
    text = str(error).strip().splitlines()
    return text[0][:300] if text else type(error).__name__
