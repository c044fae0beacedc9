"""The lease between processes: trainings together, a measurement alone."""

import threading
from pathlib import Path

import pytest

from optimizer.measure.lease import held


def test_nothing_is_held_without_a_file() -> None:
    with held(None, exclusive=True), held(None, exclusive=True):
        pass


def test_trainings_share_it(tmp_path: Path) -> None:
    def refuse() -> None:
        pytest.fail("a shared lease had to wait for a shared one")

    with held(tmp_path / "lease", exclusive=False), held(tmp_path / "lease", exclusive=False, waiting=refuse):
        pass


@pytest.mark.parametrize("first_is_exclusive", [True, False])
def test_a_measurement_is_alone(tmp_path: Path, first_is_exclusive: bool) -> None:
    waits, entered = threading.Event(), threading.Event()

    def second() -> None:
        with held(tmp_path / "lease", exclusive=not first_is_exclusive, waiting=waits.set):
            entered.set()

    with held(tmp_path / "lease", exclusive=first_is_exclusive):
        thread = threading.Thread(target=second)
        thread.start()
        assert waits.wait(10)
        assert not entered.is_set()
    assert entered.wait(10)
    thread.join(10)


def test_an_error_gives_it_back(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), held(tmp_path / "lease", exclusive=True):
        raise RuntimeError
    with held(tmp_path / "lease", exclusive=True, waiting=lambda: pytest.fail("still held")):
        pass
