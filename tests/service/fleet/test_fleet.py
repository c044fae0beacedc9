"""The loop that keeps engines at what the registry says, with fake engines on real sockets."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.exc import OperationalError

from service.errors import Unavailable
from service.fleet.board import Board, Serving
from service.fleet.fake import FakeEngine
from service.fleet.fleet import Fleet
from service.fleet.link import EngineLink
from service.home import Home
from service.registry.serving import Mark, PublishedVariant, Snapshot
from service.wire.stillroom.internal.v1 import engine_service_pb2 as wire

MANIFEST = {
    "signature": {
        "inputs": [{"name": "x", "datatype": "FP32", "shape": ["batch", 4]}],
        "outputs": [{"name": "y", "datatype": "FP32", "shape": ["batch", 3]}],
        "limits": {},
    },
    "lineage": {"recipe": "fp32"},
    "measurements": [],
}


class Records:
    """A registry of accepted variants that can be locked."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.locked = False
        self.manifest: dict[str, Any] = MANIFEST
        self.looks = 0
        self.looked = threading.Condition()

    def mark(self) -> Mark:
        with self.looked:
            self.looks += 1
            self.looked.notify_all()
        if self.locked:
            raise OperationalError("SELECT", None, Exception("database is locked"))
        return (len(self.names), 0, 0, 0)

    def snapshot(self) -> Snapshot:
        return Snapshot(
            tuple(
                PublishedVariant("t", "m", name, 1, ordinal, True, "accept", {"model.onnx": "0"}, self.manifest)
                for ordinal, name in enumerate(self.names)
            ),
            (),
        )


class Host:
    """A fleet of two places, and the engines that are started in them."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self.records = Records()
        self.board = Board(2)
        self.engines: list[FakeEngine] = []
        self.fleet = self.make_fleet()

    def make_fleet(self) -> Fleet:
        links = [EngineLink(index, self.home.engine_socket(index), self.board) for index in (0, 1)]
        return Fleet(self.records, self.board, links, lambda sha256: Path("/blobs") / sha256, 0.02)  # type: ignore[arg-type]

    def engine(self, index: int, engine_id: str, told_before: int = 0) -> FakeEngine:
        engine = FakeEngine(self.home.engine_socket(index), engine_id, b"metrics", told_before)
        self.engines.append(engine)
        engine.start()
        return engine

    def ready(self, name: str, engines: int) -> bool:
        """Waits until so many engines are there and have the variant READY."""
        return self.board.wait_for(
            lambda: (
                len(self.board.connected()) == engines and self.board.standing("t", "m", name).serving is Serving.READY
            ),
            10,
        )


@pytest.fixture
def host(home: Home) -> Iterator[Host]:
    host = Host(home)
    yield host
    host.fleet.close()
    for engine in host.engines:
        engine.stop()


def held(engine: FakeEngine) -> list[str]:
    return [variant.variant for variant in engine.desired.variants]


def test_engines_get_what_is_there_and_what_comes(host: Host) -> None:
    host.records.names.append("a")
    host.fleet.start()
    engines = [host.engine(0, "x"), host.engine(1, "y")]
    assert host.ready("a", 2)
    host.records.names.append("b")
    host.fleet.wake()
    assert host.ready("b", 2)
    assert [held(engine) for engine in engines] == [["a", "b"], ["a", "b"]]
    assert [engine.desired.version for engine in engines] == [engines[0].desired.version] * 2


def test_nothing_is_said_twice(host: Host) -> None:
    host.records.names.append("a")
    engine = host.engine(0, "x")
    link = EngineLink(0, host.home.engine_socket(0), host.board)
    fleet = Fleet(host.records, host.board, [link], lambda sha256: Path("/blobs") / sha256)  # type: ignore[arg-type]
    link.start()
    assert host.board.wait_for(lambda: 0 in host.board.connected(), 10)
    for _ in range(5):
        fleet.reconcile()
    assert (engine.applies, held(engine)) == (1, ["a"])
    fleet.close()


def test_an_engine_that_starts_anew_is_told_again(host: Host) -> None:
    host.records.names.append("a")
    host.fleet.start()
    host.engine(0, "first run").stop()
    assert host.board.wait_for(lambda: not host.board.connected(), 10)
    assert host.board.standing("t", "m", "a").reason == "no engine is connected"
    second = host.engine(0, "second run")
    assert host.ready("a", 1)
    assert held(second) == ["a"]


def test_control_that_starts_anew_counts_on_from_what_engines_know(host: Host) -> None:
    host.records.names.append("a")
    engine = host.engine(0, "x", told_before=57)
    host.fleet.start()
    assert engine.wait_for(58, 10)
    assert host.ready("a", 1)
    version = engine.desired.version
    host.fleet.close()
    host.fleet = host.make_fleet()
    host.records.names.append("b")
    host.fleet.start()
    assert engine.wait_for(version + 1, 10)
    assert host.ready("b", 1)
    assert engine.desired.version > version


def test_a_locked_registry_stops_nothing(host: Host) -> None:
    host.records.names.append("a")
    host.fleet.start()
    engine = host.engine(0, "x")
    assert host.ready("a", 1)
    host.records.locked = True
    host.records.names.append("b")
    before = host.records.looks
    host.fleet.wake()
    with host.records.looked:
        assert host.records.looked.wait_for(lambda: host.records.looks > before + 1, 10)
    assert host.board.standing("t", "m", "a").serving is Serving.READY
    host.records.locked = False
    assert host.ready("b", 1)
    assert held(engine) == ["a", "b"]


def test_a_row_that_cannot_be_understood_stops_nothing(host: Host) -> None:
    host.records.names.append("a")
    host.fleet.start()
    engine = host.engine(0, "x")
    assert host.ready("a", 1)
    host.records.manifest = {"from": "the future"}
    host.records.names.append("b")
    before = host.records.looks
    with host.records.looked:
        assert host.records.looked.wait_for(lambda: host.records.looks > before + 1, 10)
    assert held(engine) == ["a"]
    host.records.manifest = MANIFEST
    assert host.ready("b", 1)


def test_an_engine_that_refuses_is_asked_again(host: Host) -> None:
    class Refusing(FakeEngine):
        refusals = 2

        def Apply(self, request: wire.ApplyRequest, context: object) -> wire.ApplyResponse:  # noqa: N802
            if self.refusals:
                self.refusals -= 1
                raise ValueError("not now")
            return super().Apply(request, context)

    engine = Refusing(host.home.engine_socket(0), "x")
    host.engines.append(engine)
    engine.start()
    host.records.names.append("a")
    host.fleet.start()
    assert host.ready("a", 1)
    assert engine.refusals == 0


def test_metrics_come_over_the_link(host: Host, home: Home) -> None:
    link = EngineLink(0, home.engine_socket(0), host.board)
    with pytest.raises(Unavailable, match="engine 0 cannot be reached"):
        link.scrape()
    host.engine(0, "x")
    link.start()
    assert host.board.wait_for(lambda: 0 in host.board.connected(), 10)
    assert link.scrape() == b"metrics"
    link.close()
    host.fleet.start()
