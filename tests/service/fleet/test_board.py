"""What several engines say together."""

import threading

import pytest

from service.fleet.board import Board, Serving, Standing
from service.wire.stillroom.internal.v1 import engine_service_pb2 as wire


def state(servables: dict[str, str], generation: int = 0) -> wire.EngineState:
    message = wire.EngineState(engine_id="e")
    for variant, value in servables.items():
        reason = "why" if value == "FAILED" else ""
        message.servables.add(tenant="t", model="m", variant=variant, state=value, reason=reason)
    if generation:
        message.applied.add(tenant="t", model="m", generation=generation)
    return message


@pytest.mark.parametrize(
    ("engines", "standing"),
    [
        ([], Standing(Serving.LOADING, "no engine is connected")),
        ([{"a": "READY"}], Standing(Serving.READY)),
        ([{"b": "READY"}], Standing(Serving.LOADING)),
        ([{"a": "READY"}, {}], Standing(Serving.LOADING)),
        ([{"a": "READY"}, {"a": "LOADING"}], Standing(Serving.LOADING)),
        ([{"a": "READY"}, {"a": "FAILED"}], Standing(Serving.UNAVAILABLE, "why")),
        ([{"a": "READY"}, {"a": "READY"}], Standing(Serving.READY)),
    ],
)
def test_the_worst_engine_counts(engines: list[dict[str, str]], standing: Standing) -> None:
    board = Board(2)
    for index, servables in enumerate(engines):
        board.update(index, state(servables))
    assert board.standing("t", "m", "a") == standing


def test_a_generation_is_applied_when_every_engine_has_it() -> None:
    board = Board(2)
    board.update(0, state({}, 3))
    assert board.applied("t", "m") == 0
    board.update(1, state({}, 2))
    assert (board.applied("t", "m"), board.applied("t", "other"), board.all_connected()) == (2, 0, True)
    board.disconnected(0)
    assert (board.applied("t", "m"), board.all_connected()) == (0, False)


def test_waiting_ends_with_the_change_or_with_the_time() -> None:
    board = Board(1)
    changes = []
    board.subscribe(lambda: changes.append(len(board.connected())))
    assert not board.wait_for(lambda: board.applied("t", "m") == 1, 0.01)
    threading.Timer(0.02, board.update, (0, state({}, 1))).start()
    assert board.wait_for(lambda: board.applied("t", "m") == 1, 10)
    board.disconnected(0)
    board.disconnected(0)
    assert changes == [1, 0, 0]
