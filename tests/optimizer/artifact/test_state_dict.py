"""A named architecture is read as strict JSON; what is tried follows from the shapes of the weights."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from optimizer.artifact.inspection import inspect_checkpoint
from optimizer.errors import InvalidCheckpoint
from optimizer.recipe.defaults import default_recipes

_GOOD: dict[str, Any] = {
    "library": "entry_point",
    "name": "residual",
    "inputs": [{"name": "picture", "datatype": "FP32", "shape": ["batch", 1, "height", 16]}],
}
_CONVOLUTION = {"first.weight": (4, 1, 3, 3), "last.weight": (2, 4)}


def files_of(root: Path, architecture: Any, shapes: dict[str, tuple[int, ...]]) -> dict[str, Path]:
    (root / "architecture.json").write_text(architecture if isinstance(architecture, str) else json.dumps(architecture))
    save_file({name: np.zeros(shape, np.float32) for name, shape in shapes.items()}, root / "model.safetensors")
    return {path.name: path for path in root.iterdir()}


def test_what_is_known_before_anything_is_opened(tmp_path: Path) -> None:
    found = inspect_checkpoint(files_of(tmp_path, _GOOD, _CONVOLUTION))
    assert (found.format, found.head, found.architecture) == ("state_dict", "open", "residual")
    assert found.inputs["picture"].shape == ("batch", 1, "height", 16)
    assert found.operators == {"conv2d": 1, "linear": 1}


@pytest.mark.parametrize(
    ("shapes", "tried"),
    [
        (_CONVOLUTION, ["int8", "slim", "slim-int8", "tiny", "tiny-int8", "fp16"]),
        ({"a.weight": (4, 4)}, ["int8-dynamic", "int8", "slim", "slim-int8", "fp16"]),
        ({"a.in_proj_weight": (12, 4)}, ["fused", "int8-dynamic", "int8", "slim", "slim-int8", "fp16"]),
        ({"scale": (4,)}, []),
    ],
)
def test_weights_choose_what_is_tried(shapes: dict[str, tuple[int, ...]], tried: list[str], tmp_path: Path) -> None:
    found = inspect_checkpoint(files_of(tmp_path, _GOOD, shapes))
    assert [recipe.name for recipe in default_recipes(found, "cpu")] == tried


def test_a_config_says_what_a_transformers_model_takes(tmp_path: Path) -> None:
    arguments = {"architectures": ["ResNetForImageClassification"], "num_channels": 1, "num_labels": 4}
    named = {"library": "transformers", "name": "resnet", "arguments": arguments}
    found = inspect_checkpoint(files_of(tmp_path, named, _CONVOLUTION))
    assert (found.format, found.kind, found.head, found.classes) == ("state_dict", "image", "classes", 4)
    assert list(found.inputs) == ["pixel_values"]


def _input(**changes: Any) -> dict[str, Any]:
    return {"inputs": [_GOOD["inputs"][0] | changes]}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"library": "pickle"}, "library: Input should be 'transformers'"),
        ({"name": "../evil"}, "name: String should match"),
        ({"code": "import os"}, "code: Extra inputs are not permitted"),
        ({"inputs": []}, "has no `inputs`"),
        (_input(shape=[3, 32]), 'must begin with "batch"'),
        (_input(shape=["batch", 0]), "has '0'; allowed are sizes"),
        (_input(shape=["batch", 1.5]), "inputs.0.shape.1"),
        (_input(name="labels"), "a name that data sets use"),
        (_input(datatype="BYTES"), "inputs.0.datatype"),
        ({"inputs": 2 * _GOOD["inputs"]}, "two inputs of one name"),
        ({"library": "transformers"}, "leave `inputs` out"),
        ({"library": "transformers", "inputs": [], "name": "bert"}, "architecture.json: arguments: architectures is"),
        (
            {"library": "transformers", "inputs": [], "name": "bert", "arguments": {"auto_map": {"AutoModel": "m.M"}}},
            "names code of its own",
        ),
    ],
)
def test_what_is_wrong_is_named(changes: dict[str, Any], reason: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidCheckpoint) as raised:
        inspect_checkpoint(files_of(tmp_path, _GOOD | changes, _CONVOLUTION))
    assert reason in str(raised.value)


def test_text_that_is_no_strict_json_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidCheckpoint, match=r"repeats the key 'name'"):
        inspect_checkpoint(files_of(tmp_path, '{"name": "a", "name": "b"}', _CONVOLUTION))


def test_weights_are_needed_and_nothing_else_is_taken(tmp_path: Path) -> None:
    files = files_of(tmp_path, _GOOD, _CONVOLUTION)
    with pytest.raises(InvalidCheckpoint, match=r"without model\.safetensors"):
        inspect_checkpoint({"architecture.json": files["architecture.json"]})
    (tmp_path / "model.py").write_text("import os")
    with pytest.raises(InvalidCheckpoint, match=r"model\.py lies beside"):
        inspect_checkpoint({**files, "model.py": tmp_path / "model.py"})
