"""A worker is present as long as its process lives, and leaves nothing but its name."""

import subprocess
import sys
from pathlib import Path

import pytest

from service.worker.presence import Presence

DIES = """
import os, sys
from pathlib import Path
from service.worker.presence import Presence
presence = Presence(Path(sys.argv[1]))
(presence.directory / "trial").mkdir()
print(presence.owner, flush=True)
os.kill(os.getpid(), 9)
"""


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    (tmp_path / "home" / "scratch").mkdir(parents=True)
    return tmp_path / "home" / "scratch"


def test_the_living_are_left_alone(scratch: Path) -> None:
    first, second = Presence(scratch), Presence(scratch)
    assert first.owner != second.owner
    assert second.bury_dead(pytest.fail) == []
    first.leave()
    assert [path.name for path in scratch.iterdir()] == [second.owner]
    second.leave()
    assert list(scratch.iterdir()) == []
    assert [path.name for path in scratch.parent.iterdir()] == ["scratch"]


def test_the_dead_are_reported_and_their_files_removed(scratch: Path) -> None:
    done = subprocess.run([sys.executable, "-c", DIES, str(scratch)], stdout=subprocess.PIPE, text=True)
    owner = done.stdout.strip()
    assert (scratch / owner / "trial").is_dir()
    presence = Presence(scratch)
    reported: list[str] = []
    assert presence.bury_dead(reported.append) == reported == [owner]
    assert not (scratch / owner).exists()
    assert presence.bury_dead(pytest.fail) == []
    presence.leave()


def test_a_report_that_fails_is_made_again(scratch: Path) -> None:
    subprocess.run([sys.executable, "-c", DIES, str(scratch)], stdout=subprocess.DEVNULL)
    presence = Presence(scratch)

    def refuse(_owner: str) -> None:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        presence.bury_dead(refuse)
    assert len(presence.bury_dead(lambda owner: None)) == 1
    presence.leave()
