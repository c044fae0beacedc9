"""The Dockerfiles copy what exists, run as an ordinary user and start commands that exist."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from service.cli import app

IMAGES = ("service", "optimizer")


def _instructions(path: Path) -> list[tuple[str, str]]:
    """(instruction, arguments), continued lines joined, comments dropped."""
    text = "\n".join(line for line in path.read_text().splitlines() if not line.startswith("#"))
    lines = [line.strip() for line in text.replace("\\\n", " ").splitlines() if line.strip()]
    return [(line.split(None, 1)[0], line.split(None, 1)[1]) for line in lines]


@pytest.fixture(params=IMAGES)
def dockerfile(request: pytest.FixtureRequest, deploy: Path) -> Path:
    """One Dockerfile after the other."""
    return deploy / "docker" / f"Dockerfile.{request.param}"


def test_the_linter_is_content(dockerfile: Path) -> None:
    run = subprocess.run(
        [Path(sys.executable).with_name("hadolint"), dockerfile], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout


def test_everything_copied_exists_and_is_sent(dockerfile: Path) -> None:
    root = dockerfile.parents[2]
    sent = {line[1:] for line in (root / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    copied = [
        source
        for instruction, arguments in _instructions(dockerfile)
        if instruction == "COPY" and not arguments.startswith("--from")
        for source in arguments.split()[:-1]
    ]
    assert set(copied) == sent
    assert [source for source in copied if not (root / source).exists()] == []


def test_it_runs_as_an_ordinary_user_on_a_pinned_base(dockerfile: Path) -> None:
    instructions = _instructions(dockerfile)
    users = [arguments for instruction, arguments in instructions if instruction == "USER"]
    assert users == ["10001:10001"]
    bases = [arguments.split()[0] for instruction, arguments in instructions if instruction == "FROM"]
    assert len(set(bases)) == 1
    assert bases[0].count(".") == 2, "pinned to a patch release"


def test_both_images_share_their_base(deploy: Path) -> None:
    bases = {
        arguments.split()[0]
        for image in IMAGES
        for instruction, arguments in _instructions(deploy / "docker" / f"Dockerfile.{image}")
        if instruction == "FROM"
    }
    assert len(bases) == 1


def test_the_service_image_has_no_torch(deploy: Path) -> None:
    text = " ".join(arguments for _, arguments in _instructions(deploy / "docker" / "Dockerfile.service"))
    assert "torch" not in text
    assert "[optimizer]" not in text


def _commands(deploy: Path) -> list[list[str]]:
    """Every command line of ours that a Dockerfile, the compose file or a manifest starts."""
    commands = []
    for image in IMAGES:
        instructions = dict(_instructions(deploy / "docker" / f"Dockerfile.{image}"))
        assert json.loads(instructions["ENTRYPOINT"]) == ["stillroom"]
        commands.append(json.loads(instructions["CMD"]))
    compose: dict[str, Any] = yaml.safe_load((deploy / "compose.yaml").read_text())
    commands += [s["command"] for s in compose["services"].values() if s["image"].startswith("stillroom-")]
    for path in (deploy / "kustomize" / "base").glob("*.yaml"):
        for item in yaml.safe_load_all(path.read_text()):
            pod = item.get("spec", {}).get("template", {}).get("spec", {}) if "spec" in item else {}
            commands += [container["args"] for container in pod.get("containers", [])]
    return commands


def test_every_command_exists(deploy: Path) -> None:
    """The command line's own parser takes each: right command, right options."""
    group = get_command(app)
    commands = _commands(deploy)
    assert len(commands) == 6
    for name, *arguments in commands:
        command = group.commands[name]  # type: ignore[attr-defined]
        command.make_context(name, list(arguments), resilient_parsing=False)
