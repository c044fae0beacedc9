"""The server never loads torch, whatever part of it is imported."""

import json
import subprocess
import sys
from pathlib import Path

HEAVY = ("torch", "transformers", "onnxscript", "scipy", "torch_pruning")
_IMPORT = """
import importlib, json, sys
for name in json.loads(sys.argv[1]):
    importlib.import_module(name)
print(json.dumps([name for name in json.loads(sys.argv[2]) if name in sys.modules]))
"""


def _modules(root: Path, folder: str) -> list[str]:
    paths = sorted((root / folder).rglob("*.py"))
    names = [".".join(path.relative_to(root).with_suffix("").parts) for path in paths]
    # Migration scripts run inside Alembic's context only.
    return [name.removesuffix(".__init__") for name in names if "__main__" not in name and ".migrations" not in name]


def _loaded_by(modules: list[str], root: Path) -> list[str]:
    run = subprocess.run(
        [sys.executable, "-c", _IMPORT, json.dumps(modules), json.dumps(HEAVY)],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    loaded: list[str] = json.loads(run.stdout.splitlines()[-1])
    return loaded


def test_no_module_of_the_service_loads_torch(root: Path) -> None:
    modules = _modules(root, "service")
    assert len(modules) > 50
    assert _loaded_by(modules, root) == []


def test_nothing_that_both_programs_read_loads_torch(root: Path) -> None:
    modules = [*_modules(root, "optimizer/artifact"), *_modules(root, "optimizer/recipe"), "optimizer.errors"]
    assert _loaded_by(modules, root) == []
