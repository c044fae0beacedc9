import threading

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.backends.fake import FakeBackend
from service.batching.batcher import Batcher
from service.batching.policy import Limits
from service.batching.queue import EntryQueue
from service.batching.stacker import Stacker
from service.errors import InvalidArgument, ServiceError
from service.metrics import Recorder
from service.types import InferRequest, InferResponse


def serve(backend, entries, limits, recorder=None) -> None:
    """Runs all entries, which wait together, and ends."""
    queue = EntryQueue(10_000)
    queue.offer(entries)
    queue.close()
    batcher = Batcher("test", queue, backend, limits, recorder or Recorder())
    batcher.start()
    assert batcher.join(30)


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 3)), min_size=1, max_size=30), st.integers(1, 9))
def test_batched_answers_equal_those_given_alone(sizes, max_rows) -> None:
    rng = np.random.default_rng(0)
    backend = FakeBackend(
        lambda inputs: [inputs[0] * 3, inputs[0].sum(1), inputs[0][:, :1] - inputs[0].sum(1)[:, None]]
    )
    outcomes: dict[int, InferResponse] = {}
    entries = []
    for number, (rows, width) in enumerate(sizes):
        array = rng.integers(-9, 9, (rows, width)).astype(np.float32)
        entries.append(_entry(array, lambda _, outcome, number=number: outcomes.__setitem__(number, outcome)))
    serve(backend, entries, Limits(max_rows))
    for number, entry in enumerate(entries):
        alone = backend.run(entry.request.arrays)
        assert all(np.array_equal(got, want) for got, want in zip(outcomes[number].arrays, alone, strict=True))


def _entry(array, deliver):
    from service.batching.entry import Entry
    from service.transport.fake import FakeCall

    request = InferRequest("", (array,), len(array), (array.shape[1:],), (0,))
    return Entry(FakeCall("", b""), request, 0, None, deliver)


def test_waiting_entries_run_together(make_entry) -> None:
    backend = FakeBackend(lambda inputs: [inputs[0]])
    entries = [make_entry(value=number) for number in range(10)]
    recorder = Recorder()
    serve(backend, entries, Limits(8), recorder)
    assert backend.batches == [8, 2]
    for number, entry in enumerate(entries):
        (response,) = entry.outcomes
        assert response.arrays[0].tolist() == [[number, number]]
        assert response.timings.batch_rows == (8 if number < 8 else 2)
    totals = recorder.totals()
    assert (totals.rows, totals.successes, sorted(totals.by_batch)) == (10, 10, [2, 8])


def test_a_poisoned_batch_fails_its_poison_alone(make_entry) -> None:
    def function(inputs):
        if (inputs[0] == 13).any():
            raise InvalidArgument("thirteen is not allowed")
        return [inputs[0] + 1]

    entries = [make_entry(value=value) for value in (1, 2, 13, 4)]
    serve(FakeBackend(function), entries, Limits(8))
    answers = [entry.outcomes[0] for entry in entries]
    assert [isinstance(answer, InferResponse) for answer in answers] == [True, True, False, True]
    assert str(answers[2]) == "thirteen is not allowed"
    assert [len(entry.outcomes) for entry in entries] == [1, 1, 1, 1]


def test_an_unforeseen_error_is_internal_and_tells_nothing(make_entry, caplog: pytest.LogCaptureFixture) -> None:
    def function(inputs):
        raise ZeroDivisionError("secret")

    entry = make_entry()
    serve(FakeBackend(function), [entry], Limits(8))
    (error,) = entry.outcomes
    assert isinstance(error, ServiceError)
    assert "secret" not in str(error)
    assert "secret" in caplog.text


def test_an_output_that_lost_the_batch_axis_is_an_error(make_entry) -> None:
    entry = make_entry(rows=3)
    serve(FakeBackend(lambda inputs: [inputs[0].sum(keepdims=True)]), [entry], Limits(8))
    assert isinstance(entry.outcomes[0], ServiceError)


def test_without_a_batch_axis_outputs_pass_as_they_are(make_entry) -> None:
    entries = [make_entry(rows=3), make_entry(rows=3)]
    backend = FakeBackend(lambda inputs: [inputs[0].sum()])
    serve(backend, entries, Limits(0))
    assert len(backend.batches) == 2
    assert entries[0].outcomes[0].arrays[0].shape == ()


def test_several_instances_answer_everything_once(make_entry) -> None:
    started = threading.Barrier(2, timeout=10)

    def function(inputs):
        started.wait()  # Passes only while two instances run at the same time.
        return [inputs[0]]

    queue, recorder = EntryQueue(100), Recorder()
    backend = FakeBackend(function)
    batchers = [Batcher(str(number), queue, backend, Limits(1), recorder) for number in range(2)]
    entries = [make_entry(value=number) for number in range(10)]
    for batcher in batchers:
        batcher.start()
    queue.offer(entries)
    queue.close()
    assert all(batcher.join(30) for batcher in batchers)
    assert [entry.outcomes[0].arrays[0][0, 0] for entry in entries] == list(range(10))


def test_buffers_are_used_again_and_few_shapes_are_kept() -> None:
    stacker = Stacker(8)

    def requests(width: int, value: int) -> list[InferRequest]:
        array = np.full((2, width), value, np.int32)
        return [InferRequest("", (array,), 2, ((width,),), (0,))] * 2

    first = stacker.stack(requests(3, 1))[0]
    assert first.tolist() == [[1, 1, 1]] * 4
    assert np.shares_memory(first, stacker.stack(requests(3, 2))[0])
    for width in range(10, 20):
        stacker.stack(requests(width, 0))
    assert not np.shares_memory(first, stacker.stack(requests(3, 3))[0])


def test_bytes_are_stacked_as_objects() -> None:
    array = np.array([[b"a"], [b"bb\x00"]], object)
    request = InferRequest("", (array,), 2, ((1,),), (0,))
    assert Stacker(8).stack([request, request])[0].tolist() == [[b"a"], [b"bb\x00"]] * 2
