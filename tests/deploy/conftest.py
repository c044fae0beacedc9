"""The manifests under deploy/, read once."""

from pathlib import Path
from typing import Any

import pytest
import yaml

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
BASE = DEPLOY / "kustomize" / "base"


@pytest.fixture(scope="session")
def deploy() -> Path:
    """The folder of deployment files."""
    return DEPLOY


@pytest.fixture(scope="session")
def manifests() -> dict[str, list[dict[str, Any]]]:
    """File name to the Kubernetes objects in it; without kustomization.yaml, which is none."""
    paths = [path for path in sorted(BASE.glob("*.yaml")) if path.name != "kustomization.yaml"]
    return {path.name: [item for item in yaml.safe_load_all(path.read_text()) if item] for path in paths}


@pytest.fixture(scope="session")
def kustomization() -> dict[str, Any]:
    """The base's list of files."""
    loaded: dict[str, Any] = yaml.safe_load((BASE / "kustomization.yaml").read_text())
    return loaded


@pytest.fixture(scope="session")
def compose() -> dict[str, Any]:
    """The compose file, its anchors resolved."""
    loaded: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return loaded
