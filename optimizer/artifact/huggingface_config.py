"""What a Hugging Face configuration says of a model: its head, classes, inputs and their limits.

Only the names are judged here; whether transformers really has the architecture is found out where it is loaded.
"""

import re
from typing import Any

from optimizer.artifact.inspected import Head, InputFacts, Inspection, Kind
from optimizer.artifact.signature import BATCH
from optimizer.errors import InvalidCheckpoint

# Ends of architectures' names, and what the model is then. A name that ends in Model is a body without a head.
_SUFFIXES: dict[str, tuple[Kind | None, Head]] = {
    "ForSequenceClassification": ("text", "classes"),
    "ForTokenClassification": ("text", "tokens"),
    "ForImageClassification": ("image", "classes"),
    "ForImageClassificationWithTeacher": ("image", "classes"),
    "ForAudioClassification": ("audio", "classes"),
    "ForCausalLM": ("text", "next_token"),
    "LMHeadModel": ("text", "next_token"),
    "Model": (None, "embedding"),
}
_ARCHITECTURE = re.compile(rf"[A-Z][A-Za-z0-9]*?({'|'.join(_SUFFIXES)})")
_PROBLEMS: dict[str, Head] = {
    "single_label_classification": "classes",
    "multi_label_classification": "labels",
    "regression": "targets",
}
_MODEL_TYPE = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_CLASSES = 100_000
_LARGEST = 2**31 - 1
# Position numbers of these begin after the padding token's, so the last ones cannot be used.
_OFFSET_POSITIONS = frozenset(
    {
        "roberta", "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "camembert", "data2vec-text", "ibert",
        "longformer", "mpnet", "luke", "esm", "xmod", "lilt", "layoutlmv3", "markuplm",
    }
)  # fmt: skip
# Vision models whose table of positions fits one image size; all others take any.
_FIXED_IMAGE = frozenset({"vit", "deit", "vit_msn", "ijepa", "clip", "metaclip_2", "siglip", "levit"})
# Keys of models that take samples, or frames of a spectrum.
_OF_SOUND = ("conv_dim", "num_mel_bins")
_HEADS = ("num_attention_heads", "n_head", "n_heads", "num_heads", "encoder_attention_heads")


def facts_of(config: dict[str, Any]) -> Inspection:
    """Reads a parsed config.json. Raises InvalidCheckpoint naming the key at fault and what is allowed."""
    architecture = _architecture(config)
    model_type = config.get("model_type")
    if not isinstance(model_type, str) or _MODEL_TYPE.fullmatch(model_type) is None:
        raise InvalidCheckpoint(
            f"config.json: model_type is {_shown(model_type)}; the name of a transformers model is needed"
        )
    _refuse_unsupported(config)
    kind, head = _kind_and_head(architecture, config)
    names = _class_names(config)
    classes = len(names) or _size(config, "num_labels", 1, _CLASSES) or 2
    if head == "classes":
        head = _PROBLEMS[
            config.get("problem_type") or ("regression" if classes == 1 else "single_label_classification")
        ]
    inputs = {"text": _text, "image": _image, "audio": _audio}[kind](config, model_type)
    return Inspection(
        format="huggingface",
        kind=kind,
        head=head,
        classes=None if head in ("embedding", "next_token") else classes,
        class_names=names if head in ("classes", "labels", "tokens") else (),
        architecture=architecture,
        model_type=model_type,
        attention=any(key in scope for scope in _scopes(config) for key in _HEADS),
        **inputs,
    )


def _kind_and_head(architecture: str, config: dict[str, Any]) -> tuple[Kind, Head]:
    found = _ARCHITECTURE.fullmatch(architecture)
    assert found is not None
    kind, head = _SUFFIXES[found[1]]
    # Names tell neither what a body takes, nor that a classifier of sequences is one of sounds.
    if kind in (None, "text") and any(key in config for key in _OF_SOUND):
        return "audio", head
    return kind or ("text" if "vocab_size" in config else "image"), head


def _architecture(config: dict[str, Any]) -> str:
    listed = config.get("architectures")
    if not isinstance(listed, list) or len(listed) != 1 or not isinstance(listed[0], str):
        raise InvalidCheckpoint(
            f"config.json: architectures is {_shown(listed)}; exactly one class is needed, "
            "as `model.save_pretrained(DIRECTORY)` writes it"
        )
    architecture: str = listed[0]
    if _ARCHITECTURE.fullmatch(architecture) is None:
        raise InvalidCheckpoint(
            f"config.json: architecture {architecture[:80]!r} is not accepted; models of transformers are whose names "
            f"end in {', '.join(_SUFFIXES)}"
        )
    return architecture


def _refuse_unsupported(config: dict[str, Any]) -> None:
    if config.get("quantization_config") is not None:
        raise InvalidCheckpoint(
            "config.json: the weights are quantised (quantization_config); push the model in fp32, fp16 or bf16"
        )
    problem = config.get("problem_type")
    if problem is not None and problem not in _PROBLEMS:
        raise InvalidCheckpoint(f"config.json: problem_type is {_shown(problem)}; accepted are {', '.join(_PROBLEMS)}")
    for scope in _scopes(config):
        for key in ("attn_implementation", "_attn_implementation", "experts_implementation"):
            # transformers takes a name with a slash for a repository of kernels, and would fetch and run it.
            if isinstance(scope.get(key), str) and not scope[key].replace("_", "").isalnum():
                raise InvalidCheckpoint(
                    f"config.json: {key} {_shown(scope[key])} names code from elsewhere, which is never executed; "
                    "leave it out"
                )


def _scopes(config: dict[str, Any]) -> list[dict[str, Any]]:
    """The configuration, and those of its parts (a vision tower, say)."""
    return [config, *(value for value in config.values() if isinstance(value, dict))]


def _class_names(config: dict[str, Any]) -> tuple[str, ...]:
    mapping = config.get("id2label")
    if mapping is None:
        return ()
    if not isinstance(mapping, dict) or not all(isinstance(name, str | int) for name in mapping.values()):
        raise InvalidCheckpoint("config.json: id2label must map class numbers to names")
    if len(mapping) > _CLASSES:
        raise InvalidCheckpoint(f"config.json: id2label names {len(mapping)} classes; at most {_CLASSES} are allowed")
    if set(mapping) != {str(number) for number in range(len(mapping))}:
        raise InvalidCheckpoint(
            f"config.json: id2label must number the classes from 0 to {len(mapping) - 1} without gaps"
        )
    names = tuple(str(mapping[str(number)])[:200] for number in range(len(mapping)))
    if not all(name.isprintable() for name in names):
        # Lone surrogates, which JSON can spell and nothing can store, are not printable either.
        raise InvalidCheckpoint("config.json: the class names in id2label must be printable text")
    return names


def _text(config: dict[str, Any], model_type: str) -> dict[str, Any]:
    vocabulary = _size(config, "vocab_size", 1, _LARGEST)
    positions = _size(config, "max_position_embeddings", 1, _LARGEST) or _size(config, "n_positions", 1, _LARGEST)
    if positions is not None and model_type in _OFFSET_POSITIONS:
        positions = max(1, positions - 1 - (_size(config, "pad_token_id", 0, _LARGEST) or 0))
    types = _size(config, "type_vocab_size", 0, _LARGEST) or 0
    shape = (BATCH, "sequence")
    highest = None if vocabulary is None else vocabulary - 1
    inputs = {
        "input_ids": InputFacts(datatype="INT64", shape=shape, minimum=0, maximum=highest),
        "attention_mask": InputFacts(datatype="INT64", shape=shape, required=False, minimum=0, maximum=1),
    }
    if types:
        inputs["token_type_ids"] = InputFacts(
            datatype="INT64", shape=shape, required=False, minimum=0, maximum=types - 1
        )
    return {
        "inputs": inputs,
        "vocab_size": vocabulary,
        "max_positions": positions,
        "limits": {} if positions is None else {"sequence": positions},
    }


def _audio(config: dict[str, Any], model_type: str) -> dict[str, Any]:
    bins = _size(config, "num_mel_bins", 1, 65536)
    if model_type == "whisper":
        positions = _size(config, "max_source_positions", 1, _LARGEST)
        frames: int | str = "frames" if positions is None else 2 * positions
        return {"inputs": {"input_features": InputFacts(datatype="FP32", shape=(BATCH, bins or "bins", frames))}}
    if bins is not None:
        frames = _size(config, "max_length", 1, _LARGEST) or "frames"
        return {"inputs": {"input_values": InputFacts(datatype="FP32", shape=(BATCH, frames, bins))}}
    shape = (BATCH, "samples")
    return {
        "inputs": {
            "input_values": InputFacts(datatype="FP32", shape=shape),
            "attention_mask": InputFacts(datatype="INT64", shape=shape, required=False, minimum=0, maximum=1),
        }
    }


def _image(config: dict[str, Any], model_type: str) -> dict[str, Any]:
    tower = config.get("vision_config")
    vision = tower if isinstance(tower, dict) and "num_channels" not in config else config
    channels = _size(vision, "num_channels", 1, 4096)
    size = _image_size(vision) if model_type in _FIXED_IMAGE else None
    shape: tuple[int | str, ...] = (BATCH, channels or "channels", *(size or ("height", "width")))
    return {
        "inputs": {"pixel_values": InputFacts(datatype="FP32", shape=shape)},
        "channels": channels,
        "image_size": size,
    }


def _image_size(config: dict[str, Any]) -> tuple[int, int] | None:
    value = config.get("image_size")
    if isinstance(value, list) and len(value) == 2:
        height, width = (_size({"image_size": item}, "image_size", 1, 65536) for item in value)
        return None if height is None or width is None else (height, width)
    side = _size(config, "image_size", 1, 65536)
    return None if side is None else (side, side)


def _size(config: dict[str, Any], key: str, lowest: int, highest: int) -> int | None:
    value = config.get(key)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not lowest <= value <= highest:
        raise InvalidCheckpoint(
            f"config.json: {key} is {_shown(value)}; a whole number from {lowest} to {highest} is needed"
        )
    return value


def _shown(value: Any) -> str:
    return repr(value)[:80]
