import dataclasses
import itertools
import threading

import pytest

from service.backends.fake import FakeBackend
from service.batching.policy import Limits
from service.models.servable import Servable, State

LEGAL = {
    ("NEW", "LOADING"), ("NEW", "UNLOADED"), ("NEW", "FAILED"),
    ("LOADING", "READY"), ("LOADING", "UNLOADED"), ("LOADING", "FAILED"),
    ("READY", "DRAINING"), ("READY", "FAILED"),
    ("DRAINING", "UNLOADED"), ("DRAINING", "FAILED"),
    ("FAILED", "UNLOADED"),
}  # fmt: skip
WAYS = {
    State.NEW: [],
    State.LOADING: [State.LOADING],
    State.READY: [State.LOADING, State.READY],
    State.DRAINING: [State.LOADING, State.READY, State.DRAINING],
    State.UNLOADED: [State.UNLOADED],
    State.FAILED: [State.FAILED],
}


@pytest.fixture
def servable(describe) -> Servable:
    return Servable(describe("r1.fp32"), max_batch=8, queue_capacity=10)


@pytest.mark.parametrize(("old", "new"), list(itertools.product(State, State)))
def test_only_the_transitions_that_are_drawn_are_possible(servable, old, new) -> None:
    for state in WAYS[old]:
        servable.move(state)
    if (old.value, new.value) in LEGAL:
        servable.move(new, "why")
        assert (servable.state, servable.reason) == (new, "why")
    else:
        with pytest.raises(ValueError, match=f"{old} to {new}"):
            servable.move(new)
        assert servable.state is old


@pytest.mark.parametrize("handles", [0, 1, 5])
def test_a_handle_can_only_be_had_while_ready(servable, handles) -> None:
    assert not servable.acquire()
    servable.move(State.LOADING)
    servable.open(FakeBackend(lambda inputs: inputs), Limits(8), 1)
    assert all(servable.acquire() for _ in range(handles))
    servable.move(State.DRAINING)
    assert not servable.acquire()
    assert servable.wait_idle(0.0) is (handles == 0)
    for _ in range(handles):
        servable.release()
    assert servable.wait_idle(0.0)
    assert servable.close()


def test_the_last_handle_wakes_who_waits(servable) -> None:
    servable.move(State.LOADING)
    servable.open(FakeBackend(lambda inputs: inputs), Limits(8), 1)
    assert servable.acquire()
    threading.Timer(0.02, servable.release).start()
    assert servable.wait_idle(10)
    assert servable.close()


def test_a_model_without_a_batch_axis_takes_no_batch(describe) -> None:
    description = describe("r1.fp32")
    fixed = description.signature.model_copy(
        update={"inputs": (description.signature.inputs[0].model_copy(update={"shape": (1, 2)}),)}
    )
    assert Servable(description, 8, 1).max_batch == 8
    assert Servable(dataclasses.replace(description, signature=fixed), 8, 1).max_batch == 0
