"""What the page on data says of converting pickles works, word for word."""

import json
import re
from pathlib import Path

import pytest
import torch
from torch import nn

from optimizer.artifact.inspection import inspect_checkpoint

_PAGE = Path(__file__).parents[3] / "docs" / "data.md"


@pytest.fixture
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> nn.Module:
    monkeypatch.chdir(tmp_path)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 30 * 30, 5))


def snippet(reads: str) -> str:
    """The code of the page that reads a file of this name."""
    section = _PAGE.read_text().partition("### From a pickle")[2]
    (found,) = [code for code in re.findall(r"```python\n(.*?)```", section, re.DOTALL) if f'"{reads}"' in code]
    return str(found)


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_state_dict(network: nn.Module, wrapped: bool, tmp_path: Path) -> None:
    weights = network.state_dict()
    torch.save({"epoch": 3, "state_dict": weights} if wrapped else weights, "model.pth")
    exec(snippet("model.pth"), {})
    named = {
        "library": "entry_point",
        "name": "ours",
        "inputs": [{"name": "image", "datatype": "FP32", "shape": ["batch", 3, 32, 32]}],
    }
    (tmp_path / "checkpoint" / "architecture.json").write_text(json.dumps(named))
    found = inspect_checkpoint({path.name: path for path in (tmp_path / "checkpoint").iterdir()})
    assert found.operators == {"conv2d": 1, "linear": 1}


def test_a_whole_module(network: nn.Module, tmp_path: Path) -> None:
    torch.save(network, "model.pt")
    exec(snippet("model.pt"), {})
    found = inspect_checkpoint({"model.pt2": tmp_path / "model.pt2"})
    assert found.classes == 5
