"""Training that is killed goes on at the very update, and ends as if nothing had happened."""

import importlib.util
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

_SCRIPT = Path(__file__).with_name("interrupted.py")
_spec = importlib.util.spec_from_file_location("interrupted", _SCRIPT)
interrupted = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(interrupted)


class _Stopped(Exception):
    pass


def _same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


@pytest.fixture(scope="module")
def whole():
    """A training that nobody disturbed; 3 epochs of 5 updates."""
    return interrupted.train(None, None)


def test_killed_process_goes_on_and_ends_with_the_very_same_weights(tmp_path, whole):
    # The eighth update lies in the middle of the second epoch; the seventh is the last that was saved.
    killed = subprocess.run([sys.executable, _SCRIPT, tmp_path, "8"], check=False, capture_output=True)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert (tmp_path / "training.safetensors").is_file()
    predictor, companion, hook, result = interrupted.train(tmp_path, None)
    assert _same(predictor, whole[0])
    assert _same(companion, whole[1])
    assert int(hook.updates) == int(whole[2].updates) == 15
    assert result.curve == whole[3].curve
    assert result.points == whole[3].points
    assert result.best_epoch == whole[3].best_epoch
    assert result.notes == ("went on from update 7 of 15 after an interruption",)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
@pytest.mark.parametrize("stop", [2, 5, 6, 14])
def test_it_goes_on_from_any_update(tmp_path, monkeypatch, optimiser, stop):
    whole = interrupted.train(None, None, optimiser=optimiser, schedule="plateau")

    def stopping(pid, number):
        raise _Stopped

    monkeypatch.setattr(interrupted.os, "kill", stopping)
    with pytest.raises(_Stopped):
        interrupted.train(tmp_path, stop, optimiser=optimiser, schedule="plateau")
    predictor, _, _, result = interrupted.train(tmp_path, None, optimiser=optimiser, schedule="plateau")
    assert _same(predictor, whole[0])
    assert result.curve == whole[3].curve
    assert result.notes[0].startswith(f"went on from update {stop - 1} of")


@pytest.mark.parametrize("spoil", ["other training", "torn file"])
def test_what_is_not_of_this_training_is_not_taken_up(tmp_path, monkeypatch, whole, spoil):
    monkeypatch.setattr(interrupted.os, "kill", lambda *_: (_ for _ in ()).throw(_Stopped))
    with pytest.raises(_Stopped):
        interrupted.train(tmp_path, 6, **({"learning_rate": 0.02} if spoil == "other training" else {}))
    saved = tmp_path / "training.safetensors"
    if spoil == "torn file":
        saved.write_bytes(saved.read_bytes()[:-100])
    predictor, _, _, result = interrupted.train(tmp_path, None)
    assert _same(predictor, whole[0])
    assert result.notes == ()


def test_full_disk_ends_saving_and_not_training(tmp_path, whole):
    # Files may grow to a few thousand bytes and no further, as on a disk that has so much left.
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4000, limits[1]))
    try:
        predictor, _, _, result = interrupted.train(tmp_path, None)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert _same(predictor, whole[0])
    assert list(tmp_path.iterdir()) == []
    assert len(result.notes) == 1
    assert "could not be saved" in result.notes[0]


def test_saving_takes_a_small_share_of_the_time(tmp_path, monkeypatch):
    saved = []
    monkeypatch.setattr("optimizer.train.checkpoint.save", lambda *arguments: saved.append(arguments))
    interrupted.train(tmp_path, None, save_seconds=1e9)
    assert saved == []
