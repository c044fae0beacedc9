import socket
import sys
from pathlib import Path

import pytest

from loadtests import commands
from loadtests.commands import CommandFailed
from loadtests.demo import __main__ as demo
from loadtests.local_server import free_ports


def variant(name: str, *, times: float | None, accepted: bool = True, parent: str | None = "r1.fp32") -> dict:
    speedup = None if times is None else {"1": {"value": times, "low": times, "high": times}}
    return {"name": name, "accepted": accepted, "parent": parent, "speedup": speedup}


def test_the_fastest_is_sought_among_accepted_variants_only() -> None:
    found = [
        variant("r1.fp32", times=None, parent=None),
        variant("r1.int8", times=3.5),
        variant("r1.half", times=2.0),
        variant("r1.wild", times=9.0, accepted=False),
        variant("r1.unmeasured", times=None),
    ]
    assert demo.fastest(found) == ("r1.int8", 3.5)


def test_a_source_alone_is_no_success() -> None:
    with pytest.raises(CommandFailed, match="no variant was accepted"):
        demo.fastest([variant("r1.fp32", times=None, parent=None), variant("r1.int8", times=4.0, accepted=False)])


@pytest.mark.parametrize(
    ("speedup", "expected"), [(None, 0.0), ({}, 0.0), ({"8": {"value": 3}}, 0.0), ({"1": {"value": 3}}, 3.0)]
)
def test_speedup_is_that_at_batch_1(speedup: dict | None, expected: float) -> None:
    assert commands.speedup({"speedup": speedup}) == expected


def test_free_ports_are_different_and_free() -> None:
    ports = free_ports(3)
    assert len(set(ports)) == 3
    for port in ports:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", port))


def test_the_source_is_kept_by_what_made_it(tmp_path: Path) -> None:
    assert demo.source_directory(tmp_path) == demo.source_directory(tmp_path)
    assert demo.source_directory(tmp_path).parent == tmp_path


def test_a_command_is_shown_as_it_would_be_typed(capsys: pytest.CaptureFixture[str]) -> None:
    commands.show(["stillroom", "push", "two words"])
    assert capsys.readouterr().out == "\n$ stillroom push 'two words'\n"


def test_a_failed_command_is_told() -> None:
    with pytest.raises(CommandFailed, match="exit code 3"):
        commands.run([sys.executable, "-c", "raise SystemExit(3)"])
    with pytest.raises(CommandFailed, match="exit code 4"):
        commands.output([sys.executable, "-c", "raise SystemExit(4)"], {})
    assert commands.output([sys.executable, "-c", "print('said')"], {}) == "said\n"


def test_nobody_listening_is_not_live() -> None:
    (port,) = free_ports(1)
    assert not commands.is_live(f"127.0.0.1:{port}")
