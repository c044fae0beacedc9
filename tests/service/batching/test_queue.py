import threading

import grpc

from service.batching.policy import Limits
from service.batching.queue import FULL, EntryQueue
from service.errors import Cancelled, DeadlineExceeded, Unavailable

LIMITS = Limits(8)


class Clock:
    def __init__(self) -> None:
        self.now_ns = 0

    def __call__(self) -> int:
        return self.now_ns


def test_entries_leave_in_order_of_arrival(make_entry) -> None:
    queue = EntryQueue(100, Clock())
    entries = [make_entry() for _ in range(20)]
    queue.offer(entries[:5])
    queue.offer(entries[5:])
    assert queue.take(LIMITS) == entries[:8]
    assert queue.take(LIMITS) == entries[8:16]
    assert queue.take(LIMITS) == entries[16:]


def test_other_shapes_keep_their_places(make_entry) -> None:
    queue = EntryQueue(100, Clock())
    wide, narrow = [make_entry(width=9) for _ in range(2)], [make_entry(width=3) for _ in range(2)]
    queue.offer([wide[0], narrow[0], wide[1], narrow[1]])
    assert queue.take(LIMITS) == wide
    assert queue.take(LIMITS) == narrow
    assert len(queue) == 0


def test_what_does_not_fit_is_refused_at_once(make_entry) -> None:
    queue = EntryQueue(3, Clock())
    entries = [make_entry() for _ in range(5)]
    queue.offer(entries)
    assert [entry.outcomes for entry in entries[:3]] == [[], [], []]
    for entry in entries[3:]:
        (error,) = entry.outcomes
        assert isinstance(error, Unavailable)
        assert str(error) == FULL


def test_the_dead_make_room_at_the_door(make_entry) -> None:
    queue = EntryQueue(2, Clock())
    old = [make_entry(), make_entry()]
    queue.offer(old)
    old[0].call.cancel()
    new = make_entry()
    queue.offer([new])
    assert isinstance(old[0].outcomes[0], Cancelled)
    assert new.outcomes == []
    assert queue.take(LIMITS) == [old[1], new]


def test_the_dead_are_answered_and_not_run(make_entry) -> None:
    clock = Clock()
    queue = EntryQueue(10, clock)
    expired, alive, cancelled = make_entry(expires_ns=5), make_entry(expires_ns=50), make_entry()
    late = make_entry(timeout=0.0)
    cancelled.call.cancel()
    queue.offer([expired, alive, cancelled, late])
    clock.now_ns = late.call.deadline_ns
    alive.expires_ns = clock.now_ns + 1
    assert queue.take(LIMITS) == [alive]
    assert str(expired.outcomes[0]) == "Request timeout expired"
    assert expired.call.status is grpc.StatusCode.UNAVAILABLE
    assert isinstance(cancelled.outcomes[0], Cancelled)
    assert isinstance(late.outcomes[0], DeadlineExceeded)


def test_a_closed_queue_gives_out_what_waits_and_refuses_the_rest(make_entry) -> None:
    queue = EntryQueue(10, Clock())
    waiting, late = make_entry(), make_entry()
    queue.offer([waiting])
    queue.close()
    queue.offer([late])
    assert isinstance(late.outcomes[0], Unavailable)
    assert queue.take(Limits(8, delay_ns=10**12)) == [waiting]
    assert queue.take(LIMITS) is None


def test_a_taker_is_woken_by_an_offer_and_by_the_end(make_entry) -> None:
    queue = EntryQueue(10)
    taken: list[object] = []

    def take_all() -> None:
        while (entries := queue.take(LIMITS)) is not None:
            taken.extend(entries)

    thread = threading.Thread(target=take_all)
    thread.start()
    entry = make_entry()
    queue.offer([entry])
    queue.close()
    thread.join(10)
    assert taken == [entry]


def test_two_takers_share_without_loss_or_doubling(make_entry) -> None:
    queue = EntryQueue(10_000)
    taken: list[object] = []

    def take_all() -> None:
        while (entries := queue.take(Limits(3))) is not None:
            taken.extend(entries)

    threads = [threading.Thread(target=take_all) for _ in range(2)]
    for thread in threads:
        thread.start()
    entries = [make_entry() for _ in range(500)]
    for start in range(0, 500, 7):
        queue.offer(entries[start : start + 7])
    queue.close()
    for thread in threads:
        thread.join(10)
    assert len(taken) == 500
    assert set(map(id, taken)) == set(map(id, entries))
