"""What every front promises, whatever carries it."""

import threading
import time

import grpc
import pytest

from service.errors import ControlAway, FailedPrecondition
from service.transport.base import LONGEST_MESSAGE, FrontOptions
from service.transport.choice import open_front

SAY = "/test.Echo/Say"
SHOUT = "/test.Echo/Shout"
PATIENCE_SECONDS = 10.0


def test_a_call_brings_its_method_payload_and_metadata(harness) -> None:
    pending = harness.call(SHOUT, b"payload", metadata=(("key", "value"), ("some-bin", b"\x00\xff")))
    (call,) = harness.take()
    assert (call.method, call.payload, call.cancelled, call.deadline_ns) == (SHOUT, b"payload", False, None)
    assert {("key", "value"), ("some-bin", b"\x00\xff")} <= set(call.metadata)
    assert call.reply(b"answer")
    assert pending.outcome().payload == b"answer"


@pytest.mark.parametrize("payload", [b"", b"x" * 5_000_000], ids=["empty", "large"])
def test_a_message_of_any_size_passes_unchanged(harness, payload: bytes) -> None:
    pending = harness.call(SAY, payload)
    (call,) = harness.take()
    assert call.payload == payload
    call.reply(payload)
    # A stock client takes answers of 4 MiB at most; the size is seen all the same.
    outcome = pending.outcome()
    assert outcome.payload == payload or outcome.status is grpc.StatusCode.RESOURCE_EXHAUSTED


def test_only_the_first_answer_counts(harness) -> None:
    pending = harness.call(SAY, b"")
    (call,) = harness.take()
    assert call.reply(b"first")
    assert not call.reply(b"second")
    assert not call.fail(grpc.StatusCode.INTERNAL, "third")
    assert pending.outcome().payload == b"first"


def test_a_failure_arrives_with_its_status_and_words(harness) -> None:
    pending = harness.call(SAY, b"")
    (call,) = harness.take()
    assert call.fail(grpc.StatusCode.NOT_FOUND, "no such 'größe' % \n")
    outcome = pending.outcome()
    assert (outcome.status, outcome.message) == (grpc.StatusCode.NOT_FOUND, "no such 'größe' % \n")


def test_a_long_failure_is_cut_to_what_a_header_holds(harness) -> None:
    pending = harness.call(SAY, b"")
    (call,) = harness.take()
    call.fail(grpc.StatusCode.INVALID_ARGUMENT, "é" * 100_000)
    outcome = pending.outcome()
    assert (outcome.status, len(outcome.message)) == (grpc.StatusCode.INVALID_ARGUMENT, LONGEST_MESSAGE)


def test_calls_are_answered_from_any_thread_in_any_order(harness) -> None:
    pending = [harness.call(SAY, str(number).encode()) for number in range(50)]
    calls = harness.take(50)
    threads = [threading.Thread(target=call.reply, args=(call.payload * 2,)) for call in reversed(calls)]
    for thread in threads:
        thread.start()
    assert [each.outcome().payload for each in pending] == [str(number).encode() * 2 for number in range(50)]
    for thread in threads:
        thread.join()


def test_waiting_calls_are_taken_together_up_to_the_limit(harness) -> None:
    pending = [harness.call(SAY, b"") for _ in range(10)]
    taken = 0
    while taken < 10:
        batch = harness.front.take_batch(4, PATIENCE_SECONDS)
        assert 1 <= len(batch) <= 4
        taken += len(batch)
        for call in batch:
            call.reply(b"")
    assert all(each.outcome().status is grpc.StatusCode.OK for each in pending)


def test_nothing_arrives_within_the_timeout(harness) -> None:
    assert harness.front.take_batch(1, 0.01) == []


def test_a_deadline_is_known_in_monotonic_time(harness) -> None:
    pending = harness.call(SAY, b"", timeout=100.0)
    (call,) = harness.take()
    assert call.deadline_ns is not None
    # Clients round the time that they send up.
    assert 90 < (call.deadline_ns - time.monotonic_ns()) / 1e9 < 102
    call.reply(b"")
    assert pending.outcome().status is grpc.StatusCode.OK


def test_a_cancelled_call_is_seen_and_takes_no_answer(harness) -> None:
    pending = harness.call(SAY, b"")
    (call,) = harness.take()
    pending.cancel()
    harness.wait_cancelled(call)
    assert not call.reply(b"late")
    assert pending.outcome().status is grpc.StatusCode.CANCELLED


def test_a_closed_front_ends_the_taking_and_the_calls(harness) -> None:
    pending = harness.call(SAY, b"")
    (call,) = harness.take()
    taken: list[object] = []
    taker = threading.Thread(target=lambda: taken.append(harness.front.take_batch(1)))
    taker.start()
    harness.front.close()
    taker.join(PATIENCE_SECONDS)
    assert taken == [None]
    assert harness.front.take_batch(1, 0.01) is None
    harness.front.close()
    assert not call.reply(b"late") or pending.outcome().payload == b"late"


def test_a_deadline_that_passes_cancels_the_call(open_wire) -> None:
    harness = open_wire()
    pending = harness.call(SAY, b"", timeout=0.2)
    (call,) = harness.take()
    harness.wait_cancelled(call)
    assert pending.outcome().status is grpc.StatusCode.DEADLINE_EXCEEDED
    assert not call.reply(b"late")


def test_a_message_above_the_limit_is_refused_by_the_name_of_the_knob(open_wire) -> None:
    harness = open_wire(max_message_bytes=2000)
    largest = harness.call(SAY, b"x" * 2000)
    harness.take()[0].reply(b"")
    assert largest.outcome().status is grpc.StatusCode.OK
    too_large = harness.call(SAY, b"x" * 2001)
    _until(lambda: too_large.done() or harness.front.take_batch(1, 0.02))
    outcome = too_large.outcome()
    assert outcome.status is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "2001" in outcome.message
    assert "max_message_bytes" in outcome.message


def test_an_unknown_method_is_unimplemented_when_nothing_stands_behind(open_wire) -> None:
    assert open_wire().call("/test.Other/Do", b"").outcome().status is grpc.StatusCode.UNIMPLEMENTED


def test_a_port_in_use_is_refused_in_a_sentence(open_wire, transport: str) -> None:
    port = open_wire().front.port
    with pytest.raises(FailedPrecondition, match=str(port)):
        open_front(transport, FrontOptions(methods=(SAY,), port=port)).start()


def test_streams_metadata_and_deadline_reach_control(open_wire, control) -> None:
    control.start()
    harness = open_wire(fallback=control.socket)
    with grpc.insecure_channel(f"127.0.0.1:{harness.front.port}") as channel:
        call = channel.stream_stream("/test.Behind/Echo")(
            iter([b"a", b"b"]), metadata=(("asked", "much"), ("asked-bin", b"\x00\x01")), timeout=PATIENCE_SECONDS
        )
        assert list(call) == [b"a!", b"b!", b"much True"]
        assert dict(call.initial_metadata())["first"] == "1"
        assert dict(call.trailing_metadata())["last-bin"] == b"\x00\x01"
        upload = channel.stream_unary("/test.Behind/Count")
        assert upload(iter([b"x" * 1_000_000] * 12), timeout=PATIENCE_SECONDS) == b"12000000"


def test_controls_status_is_passed_on(open_wire, control) -> None:
    control.start()
    harness = open_wire(fallback=control.socket)
    with grpc.insecure_channel(f"127.0.0.1:{harness.front.port}") as channel:
        with pytest.raises(grpc.RpcError) as failed:
            channel.unary_unary("/test.Behind/Fail")(b"", timeout=PATIENCE_SECONDS)
        assert (failed.value.code(), failed.value.details()) == (grpc.StatusCode.ALREADY_EXISTS, "there is one")
        assert dict(failed.value.trailing_metadata())["why"] == "because"
    for _ in range(20):
        assert harness.call("/test.Behind/Missing", b"").outcome().status is grpc.StatusCode.UNIMPLEMENTED


def test_a_stream_that_control_ends_early_ends_with_controls_status(open_wire, control) -> None:
    control.start()
    harness = open_wire(fallback=control.socket)
    with grpc.insecure_channel(f"127.0.0.1:{harness.front.port}") as channel:
        for _ in range(20):
            with pytest.raises(grpc.RpcError) as failed:
                channel.stream_unary("/test.Behind/Refuse")(iter([b"x" * 100_000] * 50), timeout=PATIENCE_SECONDS)
            assert (failed.value.code(), failed.value.details()) == (grpc.StatusCode.INVALID_ARGUMENT, "enough")


def test_a_cancelled_call_is_cancelled_in_control(open_wire, control) -> None:
    control.start()
    harness = open_wire(fallback=control.socket)
    # The first call opens the way; the second is cancelled while it is there.
    with grpc.insecure_channel(f"127.0.0.1:{harness.front.port}") as channel:
        assert len(list(channel.stream_stream("/test.Behind/Echo")(iter([b"a"]), timeout=PATIENCE_SECONDS))) == 2
    pending = harness.call("/test.Behind/Hang", b"", timeout=0.3)
    assert pending.outcome().status is grpc.StatusCode.DEADLINE_EXCEEDED
    assert control.behind.cancelled.wait(PATIENCE_SECONDS)


def test_control_may_be_away_go_and_come_back(open_wire, control) -> None:
    harness = open_wire(fallback=control.socket)
    outcome = harness.call("/test.Behind/Echo", b"").outcome()
    assert (outcome.status, outcome.message) == (grpc.StatusCode.UNAVAILABLE, ControlAway.SENTENCE)
    control.start()
    _until(lambda: harness.call("/test.Behind/Fail", b"").outcome().status is grpc.StatusCode.ALREADY_EXISTS)
    control.stop()
    _until(lambda: harness.call("/test.Behind/Fail", b"").outcome().message == ControlAway.SENTENCE)
    control.start()
    _until(lambda: harness.call("/test.Behind/Fail", b"").outcome().status is grpc.StatusCode.ALREADY_EXISTS)
    # The engine's own calls never noticed.
    pending = harness.call(SAY, b"still here")
    harness.take()[0].reply(b"yes")
    assert pending.outcome().payload == b"yes"


def test_answers_given_before_closing_arrive(open_wire) -> None:
    for _ in range(3):
        harness = open_wire()
        pending = [harness.call(SAY, b"") for _ in range(64)]
        for call in harness.take(64):
            call.reply(b"x" * 10_000)
        harness.front.close()
        assert [each.outcome().payload for each in pending] == [b"x" * 10_000] * 64


def _until(holds) -> None:  # type: ignore[no-untyped-def]
    deadline = time.monotonic() + PATIENCE_SECONDS
    pause = threading.Event()
    while not holds():
        assert time.monotonic() < deadline, "it did not come to pass"
        pause.wait(0.02)
