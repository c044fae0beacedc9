"""Weights are loaded into the installed network of a name, strictly; nothing else is ever imported."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from optimizer.artifact.inspection import inspect_checkpoint
from optimizer.errors import InvalidCheckpoint, InvalidDataset, UnsupportedModel
from optimizer.intake import state_dict
from optimizer.intake.predictor import predictor_of, tensors_of
from optimizer.intake.stages import Checkpoint, TorchModel


def altered(sample: Any, root: Path, weights: dict[str, torch.Tensor] | None = None, **changes: Any) -> TorchModel:
    """The sample with another architecture or other weights, opened."""
    values = json.loads((sample.directory / "architecture.json").read_text()) | changes
    (root / "architecture.json").write_text(json.dumps(values))
    save_file(load_file(sample.directory / "model.safetensors") | (weights or {}), root / "model.safetensors")
    files = {name: root / name for name in ("architecture.json", "model.safetensors")}
    return state_dict.load(Checkpoint(files, inspect_checkpoint(files)), sample.rows)


@pytest.mark.usefixtures("installed")
def test_the_network_answers_as_its_owner_trained_it(named_residual: Any, recorded_residual: Any) -> None:
    model = named_residual.load()
    pictures = tensors_of(named_residual.rows, model.inputs)
    with torch.no_grad():
        answer, expected = predictor_of(model)(*pictures), predictor_of(recorded_residual.load())(*pictures)
    torch.testing.assert_close(answer, expected, rtol=1e-5, atol=1e-5)
    assert model.calling == "positional"


def test_a_name_that_is_not_installed_is_unsupported(named_residual: Any) -> None:
    with pytest.raises(UnsupportedModel, match=r"no architecture 'residual' is installed.*none is installed"):
        named_residual.load()


@pytest.mark.usefixtures("installed")
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("house_networks", "no architecture 'house_networks' .*installed are answers_a_dict, gone"),
        ("not_a_network", "makes a str, not a torch.nn.Module"),
        ("mixes_rows", "answers a row differently among others"),
        ("answers_a_dict", "does not answer the inputs"),
        ("gone", "installed but cannot be imported"),
    ],
)
def test_what_cannot_be_a_network_is_said(name: str, reason: str, named_residual: Any, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match=reason):
        altered(named_residual, tmp_path, name=name)


@pytest.mark.usefixtures("installed")
def test_weights_and_arguments_must_fit(named_residual: Any, tmp_path: Path) -> None:
    with pytest.raises(InvalidCheckpoint, match=r"weights that the model does not have \(extra\)"):
        altered(named_residual, tmp_path, {"extra": torch.zeros(2)})
    with pytest.raises(InvalidCheckpoint, match=r"2 weights of another shape \(classifier.bias, classifier.weight\)"):
        altered(named_residual, tmp_path, arguments={"classes": 7})
    with pytest.raises(InvalidCheckpoint, match=r"the arguments do not make a 'residual'.*depth"):
        altered(named_residual, tmp_path, arguments={"classes": 4, "depth": 3})
    with pytest.raises(InvalidDataset, match=r"lacks the arrays image"):
        altered(named_residual, tmp_path, inputs=[{"name": "image", "datatype": "FP32", "shape": ["batch", 1, 16, 16]}])


@pytest.mark.parametrize("library", ["timm", "torchvision"])
def test_a_missing_library_is_the_operators_to_install(library: str, named_residual: Any, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match=f"pip install {library}"):
        altered(named_residual, tmp_path, library=library)
    with pytest.raises(InvalidCheckpoint, match=r"argument 'pretrained_cfg'; weights come from model.safetensors"):
        altered(named_residual, tmp_path, library=library, arguments={"pretrained_cfg": {"file": "/etc/passwd"}})


def test_a_transformers_model_is_opened_by_its_config(resnet: Any, tmp_path: Path) -> None:
    config = json.loads((resnet.directory / "config.json").read_text())
    named = {"library": "transformers", "name": config.pop("model_type"), "arguments": config}
    (tmp_path / "architecture.json").write_text(json.dumps(named))
    files = {
        "architecture.json": tmp_path / "architecture.json",
        "model.safetensors": resnet.directory / "model.safetensors",
    }
    model = state_dict.load(Checkpoint(files, inspect_checkpoint(files)), resnet.rows)
    own = resnet.load()
    assert model.inputs == own.inputs
    for name, weight in own.network.state_dict().items():
        torch.testing.assert_close(model.network.state_dict()[name], weight)
