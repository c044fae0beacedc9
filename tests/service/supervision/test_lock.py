"""Of some processes there may be only one."""

import os
from pathlib import Path

import pytest

from service.errors import FailedPrecondition
from service.supervision.lock import held


def test_the_second_is_refused_and_told_who_the_first_is(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with (
        held(path, "taken"),
        pytest.raises(FailedPrecondition, match=f"taken by {os.getpid()} {{x}}"),
        held(path, "taken by {holder} {x}"),
    ):
        pytest.fail("held twice")
    with held(path, "taken"):
        assert path.read_text() == str(os.getpid())


def test_patience_has_an_end(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with held(path, "taken"), pytest.raises(FailedPrecondition), held(path, "taken", patience_seconds=0.05):
        pytest.fail("held twice")
