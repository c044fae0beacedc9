"""The curves of training as an event file that TensorBoard opens."""

from collections.abc import Iterator
from pathlib import Path

from tensorboardX.proto.event_pb2 import Event
from tensorboardX.record_writer import RecordWriter
from tensorboardX.summary import scalar

from optimizer.artifact.task import METRIC
from optimizer.train.fit import Fit

# What tells readers which form the records have.
_VERSION = "brain.Event:2"


def write(path: Path, name: str, result: Fit, now_seconds: float) -> None:
    """Appends the curves of one training, tagged "<name>/loss" and so on; `now_seconds` is the time since 1970.

    Such files may be joined, end to end.
    """
    partial = path.with_name(f"{path.name}.partial")
    writer = RecordWriter(str(partial))
    writer.write(Event(wall_time=now_seconds, file_version=_VERSION).SerializeToString())
    for tag, step, value in _scalars(result):
        event = Event(wall_time=now_seconds, step=step, summary=scalar(f"{name}/{tag}", value))
        writer.write(event.SerializeToString())
    writer.close()
    with path.open("ab") as file:
        file.write(partial.read_bytes())
    partial.unlink()


def _scalars(result: Fit) -> Iterator[tuple[str, int, float]]:
    for point in result.points:
        yield "loss", point.step, point.loss
        yield "learning_rate", point.step, point.learning_rate
        yield "gradient_norm", point.step, point.gradient_norm
    for epoch in result.curve:
        yield "epoch_loss", epoch.step, epoch.loss
        yield "selection_loss", epoch.step, epoch.selection_loss
        # Of an error, less is better.
        yield f"selection_{METRIC[result.task]}", epoch.step, abs(epoch.score)
