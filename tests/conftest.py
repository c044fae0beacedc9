"""What every test may use: a free port, a home directory, and the settings of property tests."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

from service.home import Home

# A run in CI must say the same thing twice; a developer's run may look further each time.
settings.register_profile("ci", derandomize=True, deadline=None)
settings.register_profile("developer", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "developer")


@pytest.fixture
def free_port() -> Callable[[], int]:
    """A function that names a loopback TCP port nobody listens on; no port twice within a test."""
    given: set[int] = set()

    def find() -> int:
        while True:
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                port: int = probe.getsockname()[1]
            if port not in given:
                given.add(port)
                return port

    return find


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """An empty home directory with its folders made."""
    made = Home(tmp_path / "home")
    made.create()
    return made
