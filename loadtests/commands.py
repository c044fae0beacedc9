"""The commands that the demo and the results run, shown as a user would type them."""

import os
import shlex
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from service.client.client import Client
from service.errors import ServiceError


class CommandFailed(RuntimeError):
    """A command did not do what it should."""


def stillroom(*arguments: str) -> list[str]:
    """The command line of this very installation, whatever PATH says."""
    return [sys.executable, "-c", "from service.cli import main; main()", *arguments]


def show(command: Sequence[str]) -> None:
    """Prints a command as it would be typed."""
    print(f"\n$ {shlex.join(command)}", flush=True)


def run(command: Sequence[str], environment: Mapping[str, str] = os.environ) -> None:
    """Runs to the end with this process's output. Raises CommandFailed for an exit code other than 0."""
    code = subprocess.run(command, env=environment).returncode
    if code:
        raise CommandFailed(f"the last command ended with exit code {code}")


def output(command: Sequence[str], environment: Mapping[str, str]) -> str:
    """What a command writes to standard output."""
    try:
        return subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout
    except subprocess.CalledProcessError as error:
        raise CommandFailed(f"a command ended with exit code {error.returncode}") from error


def is_live(server: str) -> bool:
    """Whether a server answers there."""
    with Client(server, timeout_seconds=1.0) as client:
        try:
            return client.status().live
        except ServiceError:
            return False


def speedup(variant: Mapping[str, Any]) -> float:
    """How many times faster than its source at batch 1, from `stillroom variants --json`; 0 when not measured."""
    found = (variant["speedup"] or {}).get("1")
    return 0.0 if found is None else float(found["value"])
