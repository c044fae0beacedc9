import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from optimizer.train.fit import Epoch, Fit, Point
from optimizer.train.telemetry import write


def _fit(task="classification", score=0.75):
    epochs = (Epoch(2, 0.9, 1.1, 0.5, 0.01, 3.0), Epoch(4, 0.5, 0.8, score, 0.005, 2.0))
    points = tuple(Point(step, 1.0 / step, 0.01, 3.0) for step in (1, 2, 3, 4))
    return Fit(task, score, 2, epochs, (), points)


def _read(path):
    events = EventAccumulator(str(path))
    events.Reload()
    return {
        tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in sorted(events.Tags()["scalars"])
    }


def test_tensorboard_reads_what_was_written(tmp_path):
    path = tmp_path / "training.tfevents"
    write(path, "finetune", _fit(), 1e9)
    read = _read(path)
    assert set(read) == {
        "finetune/loss", "finetune/learning_rate", "finetune/gradient_norm", "finetune/epoch_loss",
        "finetune/selection_loss", "finetune/selection_accuracy",
    }  # fmt: skip
    assert read["finetune/loss"] == [(step, pytest.approx(1 / step)) for step in (1, 2, 3, 4)]
    assert read["finetune/selection_accuracy"] == [(2, 0.5), (4, 0.75)]
    assert list(tmp_path.iterdir()) == [path]


def test_second_training_joins_the_first(tmp_path):
    path = tmp_path / "training.tfevents"
    write(path, "finetune", _fit(), 1e9)
    write(path, "distill", _fit("regression", -0.25), 1e9)
    read = _read(path)
    assert read["distill/selection_rmse"][-1] == (4, 0.25)
    assert "finetune/loss" in read
