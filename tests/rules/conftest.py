"""Where the rules look: the tree's own files, without what is generated."""

import ast
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
_GENERATED = (ROOT / "service" / "wire" / "open_inference", ROOT / "service" / "wire" / "stillroom")


def _is_generated(path: Path) -> bool:
    return any(path.is_relative_to(folder) for folder in _GENERATED)


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's root."""
    return ROOT


@pytest.fixture(scope="session")
def tracked() -> list[Path]:
    """Every file that git tracks, or would if it were added now."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


@pytest.fixture(scope="session")
def sources() -> dict[Path, str]:
    """Hand-written modules of the programs (not of the tests), path to text."""
    folders = ("optimizer", "service", "loadtests", "protos")
    paths = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    return {path: path.read_text() for path in paths if not _is_generated(path)}


@pytest.fixture(scope="session")
def trees(sources: dict[Path, str]) -> dict[Path, ast.Module]:
    """The same, parsed."""
    return {path: ast.parse(text, str(path)) for path, text in sources.items()}
