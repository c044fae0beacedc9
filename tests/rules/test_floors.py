"""import-linter's contracts hold, and cover every package."""

import subprocess
import sys
import tomllib
from pathlib import Path


def test_the_floors_hold(root: Path) -> None:
    run = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-logo", "--no-cache"],
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr


def test_both_programs_have_exhaustive_floors(root: Path) -> None:
    contracts = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    exhaustive = {container for c in contracts if c.get("exhaustive") for container in c["containers"]}
    assert exhaustive == {"optimizer", "service"}
