"""What must be done now and then is done at its own pace, and a failure waits its turn."""

import threading

from hypothesis import given
from hypothesis import strategies as st

from service.errors import Unavailable
from service.uploads.chores import Chore, Chores, due

chores = st.lists(st.tuples(st.floats(0, 1000), st.floats(0.1, 1000)), min_size=1, max_size=5)


@given(chores, st.floats(0, 3000))
def test_what_is_due_and_when_to_look_again(state: list[tuple[float, float]], now: float) -> None:
    done_at, every = [done for done, _ in state], [pause for _, pause in state]
    chosen, wait = due(done_at, every, now)
    assert chosen == [index for index, (done, pause) in enumerate(state) if now >= done + pause]
    assert wait >= 0
    done_at = [now if index in chosen else done for index, done in enumerate(done_at)]
    # Nothing is due before the wait is over, and something is right after it.
    assert due(done_at, every, now + wait * 0.999)[0] == [] or wait < 1e-6
    assert due(done_at, every, now + wait * 1.001 + 1e-6)[0]


def test_a_chore_that_fails_does_not_end_the_others() -> None:
    done = {"good": 0, "bad": 0}
    enough = threading.Event()

    def good() -> None:
        done["good"] += 1
        if min(done.values()) >= 3:
            enough.set()

    def bad() -> None:
        done["bad"] += 1
        raise Unavailable("not now")

    runner = Chores([Chore("bad", 0.001, bad), Chore("good", 0.001, good)])
    runner.start()
    assert enough.wait(10)
    runner.close()
