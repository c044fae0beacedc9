"""Hugging Face directories: what they say of the model, and every way in which code could come with them."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file

from optimizer.artifact.inspection import InputFacts, inspect_checkpoint
from optimizer.errors import InvalidCheckpoint

Files = dict[str, Path]
Make = Callable[..., Files]

# Files are written anew for every example.
quick = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

BERT: dict[str, Any] = {
    "architectures": ["BertForSequenceClassification"],
    "model_type": "bert",
    "num_channels": None,
    "id2label": None,
    "vocab_size": 100,
    "max_position_embeddings": 64,
    "type_vocab_size": 2,
    "num_attention_heads": 2,
}


def test_an_image_classifier(huggingface: Make) -> None:
    found = inspect_checkpoint(huggingface())
    assert (found.format, found.kind, found.classes, found.channels) == ("huggingface", "image", 3, 1)
    assert found.class_names == ("zero", "one", "two")
    assert found.inputs == {"pixel_values": InputFacts(datatype="FP32", shape=("batch", 1, "height", "width"))}
    assert (found.image_size, found.attention, found.weights_bytes) == (
        None,
        False,
        huggingface()["model.safetensors"].stat().st_size,
    )


def test_a_vision_transformer_takes_one_size(huggingface: Make) -> None:
    files = huggingface(
        architectures=["ViTForImageClassification"], model_type="vit", image_size=[32, 48], num_attention_heads=2
    )
    found = inspect_checkpoint(files)
    assert found.image_size == (32, 48)
    assert found.inputs["pixel_values"].shape == ("batch", 1, 32, 48)
    assert found.attention


def test_a_vision_tower_is_looked_into(huggingface: Make) -> None:
    files = huggingface(
        architectures=["CLIPForImageClassification"],
        model_type="clip",
        num_channels=None,
        vision_config={"num_channels": 3, "image_size": 16, "num_attention_heads": 2},
    )
    assert inspect_checkpoint(files).inputs["pixel_values"].shape == ("batch", 3, 16, 16)


def test_a_text_classifier_without_names_has_two_classes(huggingface: Make) -> None:
    found = inspect_checkpoint(huggingface(**BERT))
    assert (found.kind, found.classes, found.class_names) == ("text", 2, ())
    assert (found.vocab_size, found.max_positions, found.limits) == (100, 64, {"sequence": 64})
    assert [(name, facts.required, facts.maximum) for name, facts in found.inputs.items()] == [
        ("input_ids", True, 99),
        ("attention_mask", False, 1),
        ("token_type_ids", False, 1),
    ]


def test_positions_after_the_padding_token_are_fewer(huggingface: Make) -> None:
    files = huggingface(**BERT | {"model_type": "roberta", "pad_token_id": 1, "type_vocab_size": None})
    found = inspect_checkpoint(files)
    assert found.max_positions == 62
    assert "token_type_ids" not in found.inputs


def test_harmless_files_may_come_along(huggingface: Make, tmp_path: Path) -> None:
    files = huggingface()
    for name in ("README.md", "LICENSE", "vocab.txt", "tokenizer.json", "preprocessor_config.json", "spiece.model"):
        (tmp_path / name).write_text("{}")
        files[name] = tmp_path / name
    assert inspect_checkpoint(files).classes == 3


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("pytorch_model.bin", "may hold a pickle, .* save the weights as safetensors"),
        ("model.pt", "may hold a pickle"),
        ("training_args.bin", "left over from training"),
        ("rng_state_0.pth", "left over from training"),
        ("modeling_mine.py", "is code, which is never executed"),
        ("kernel.so", "is code"),
        ("tf_model.h5", "a model of another format"),
        ("adapter_config.json", "belongs to an adapter"),
        ("weights.dat", "not accepted in a Hugging Face directory"),
    ],
)
def test_files_that_could_be_code_are_refused(huggingface: Make, tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / name).write_bytes(b"\x80\x04.")
    with pytest.raises(InvalidCheckpoint, match=words):
        inspect_checkpoint(huggingface() | {name: tmp_path / name})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"auto_map": {"AutoModel": "modeling.Mine"}}, "names code of its own"),
        ({"text_config": {"auto_map": {"AutoModel": "x"}}}, "names code of its own"),
        ({"trust_remote_code": True}, "names code of its own"),
        ({"custom_code": [1]}, "names code of its own"),
        ({"_attn_implementation": "someone/kernels"}, "names code from elsewhere"),
        ({"vision_config": {"attn_implementation": "someone/kernels@v1"}}, "names code from elsewhere"),
        ({"quantization_config": {"bits": 4}}, "the weights are quantised"),
        (
            {"problem_type": "ranking"},
            "accepted are single_label_classification, multi_label_classification, regression",
        ),
        ({"architectures": None}, "exactly one class"),
        ({"architectures": ["A", "B"]}, "exactly one class"),
        ({"architectures": ["BertForMaskedLM"]}, "'BertForMaskedLM' is not accepted; models of transformers are"),
        ({"architectures": ["../../ForImageClassification"]}, "is not accepted"),
        ({"model_type": "../evil"}, "model_type"),
        ({"model_type": 3}, "model_type"),
        ({"num_channels": -1}, "num_channels is -1; a whole number"),
        ({"num_channels": True}, "num_channels is True"),
        ({"id2label": {"0": "a", "2": "b"}}, "without gaps"),
        ({"id2label": {"0": ["a"]}}, "must map class numbers"),
        ({"id2label": {"0": "a", "1": "\ud800"}}, "printable text"),
    ],
)
def test_configurations_that_cannot_be_accepted(huggingface: Make, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidCheckpoint, match=words):
        inspect_checkpoint(huggingface(**changes))


def test_remote_code_in_other_configurations_is_refused(huggingface: Make, tmp_path: Path) -> None:
    (tmp_path / "tokenizer_config.json").write_text('{"auto_map": {"AutoTokenizer": ["tok.Mine", null]}}')
    with pytest.raises(InvalidCheckpoint, match=r"tokenizer_config.json names code of its own \('auto_map'\)"):
        inspect_checkpoint(huggingface() | {"tokenizer_config.json": tmp_path / "tokenizer_config.json"})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"", "is not valid JSON"),
        (b"{", "is not valid JSON"),
        (b"[1]", "must hold a JSON object"),
        (b'{"a": 1, "a": 2}', "repeats the key 'a'"),
        (b'{"a": NaN}', "holds NaN"),
        (b'{"a": ' + b"[" * 100 + b"]" * 100 + b"}", "nested more than 64 levels"),
        (b'{"a": ' + b"[" * 100_000, "is not valid JSON"),
        (b'{"a": ' + b"9" * 10_000 + b"}", "is not valid JSON"),
        (b"\xff\xfe{}", "is not UTF-8"),
        (b" " * (2**20 + 1), "bytes long; at most"),
        (b"<html></html>", "it is a web page"),
    ],
)
def test_what_is_no_strict_json_is_refused(huggingface: Make, text: bytes, words: str) -> None:
    files = huggingface()
    files["config.json"].write_bytes(text)
    with pytest.raises(InvalidCheckpoint, match=words):
        inspect_checkpoint(files)


def shard(tmp_path: Path, weight_map: Any, *names: str) -> Files:
    for name in names:
        save_file({f"{name}.w": np.ones(2, np.float32)}, tmp_path / f"{name}.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    files = {f"{name}.safetensors": tmp_path / f"{name}.safetensors" for name in names}
    return files | {"model.safetensors.index.json": tmp_path / "model.safetensors.index.json"}


def test_shards_are_accepted(huggingface: Make, tmp_path: Path) -> None:
    config = huggingface()["config.json"]
    files = shard(tmp_path, {"a.w": "a.safetensors", "b.w": "b.safetensors"}, "a", "b")
    found = inspect_checkpoint(files | {"config.json": config})
    assert found.weights_bytes == sum(files[name].stat().st_size for name in ("a.safetensors", "b.safetensors"))


@pytest.mark.parametrize(
    ("weight_map", "names", "words"),
    [
        ({"a.w": "a.safetensors"}, (), "names a.safetensors, which is not among the files"),
        ({"a.w": "../a.safetensors"}, ("a",), r"names the file '../a.safetensors'"),
        ({"a.w": 3}, ("a",), "names the file '3'"),
        ({"other": "a.safetensors"}, ("a",), "looks for tensor 'other'"),
        ({"a.w": "a.safetensors"}, ("a", "b"), r"b.safetensors belongs to nothing"),
        ([], ("a",), "has no weight_map"),
    ],
)
def test_shards_that_do_not_fit_their_index(
    huggingface: Make, tmp_path: Path, weight_map: Any, names: tuple[str, ...], words: str
) -> None:
    config = huggingface()["config.json"]
    with pytest.raises(InvalidCheckpoint, match=words):
        inspect_checkpoint(shard(tmp_path, weight_map, *names) | {"config.json": config})


def test_missing_weights_are_named(huggingface: Make) -> None:
    files = huggingface()
    del files["model.safetensors"]
    with pytest.raises(InvalidCheckpoint, match=r"model.safetensors is missing; save the model with"):
        inspect_checkpoint(files)


def header(entries: dict[str, Any], data: bytes = b"") -> bytes:
    text = json.dumps(entries).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(shape: Any = (2,), offsets: Any = (0, 8), dtype: Any = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "truncated: 0 bytes .* it is empty"),
        (b"1234", "truncated: 4 bytes"),
        (struct.pack("<Q", 2**40), "is not a safetensors file: its header would have"),
        (struct.pack("<Q", 100) + b"{}", "truncated: its header has 100 bytes"),
        (struct.pack("<Q", 2) + b"[]", "not a JSON object"),
        (struct.pack("<Q", 3) + b"{x}", "its header is not valid JSON"),
        (header({}), "hold no weights"),
        (header({"__metadata__": {"a": 1}}), "metadata must map text to text"),
        (header({"a": entry()}, b"1234"), "truncated: its tensors need"),
        (header({"a": entry()}, b"12345678extra"), "5 bytes after the last tensor"),
        (header({"a": entry(offsets=(4, 12))}, b"x" * 12), "overlap others or leave a gap"),
        (header({"a": entry(), "b": entry()}, b"x" * 8), "overlap others or leave a gap"),
        (header({"a": entry(shape=(3,))}, b"x" * 8), "of type F32 and shape .* has 8 bytes"),
        (header({"a": entry(shape=(2**40, 2**40))}, b"x" * 8), "overflows"),
        (header({"a": entry(shape=(-2,))}, b"x" * 8), "is not a list of at most"),
        (header({"a": entry(shape=(True, 2))}, b"x" * 8), "is not a list of at most"),
        (header({"a": entry(shape=[1] * 20)}, b"x" * 8), "is not a list of at most"),
        (header({"a": entry(offsets=(8, 0))}, b"x" * 8), "has -8 bytes"),
        (header({"a": entry(offsets=("0", 8))}, b"x" * 8), "not two positions"),
        (header({"a": entry(dtype="PICKLE")}, b"x" * 8), "of type 'PICKLE'"),
        (header({"a": {"dtype": "F32"}}, b"x" * 8), "exactly dtype, shape and data_offsets"),
        (b"PK\x03\x04 pretending", "it is a damaged zip archive"),
        (b"\x80\x04\x95\0\0\0\0\0\0\0\0", "it is a pickle"),
    ],
)
def test_damaged_headers_are_refused(huggingface: Make, data: bytes, words: str) -> None:
    files = huggingface()
    files["model.safetensors"].write_bytes(data)
    with pytest.raises(InvalidCheckpoint, match=words):
        inspect_checkpoint(files)


@quick
@given(st.data())
def test_a_mutated_file_is_accepted_or_refused_but_never_anything_else(huggingface: Make, data: st.DataObject) -> None:
    files = huggingface()
    path = files[data.draw(st.sampled_from(["config.json", "model.safetensors"]))]
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, len(content) - 1))
        content[position : position + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=6))
        content = content or bytearray(b"x")
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content)
    try:
        inspect_checkpoint(files)
    except InvalidCheckpoint as error:
        assert str(path.parent) not in str(error)  # noqa: PT017 - some mutations are harmless


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@quick
@given(
    st.sampled_from(
        [
            "architectures",
            "model_type",
            "num_channels",
            "id2label",
            "num_labels",
            "image_size",
            "vision_config",
            "vocab_size",
        ]
    ),
    json_values,
)
def test_any_value_of_a_key_is_accepted_or_refused(huggingface: Make, key: str, value: Any) -> None:
    for base in ({}, BERT, {"architectures": ["ViTForImageClassification"], "model_type": "vit"}):
        try:
            inspect_checkpoint(huggingface(**base | {key: value}))
        except InvalidCheckpoint:
            continue
