import dataclasses
import threading

import numpy as np
import pytest

from service.backends.fake import FakeBackend
from service.errors import FailedPrecondition
from service.models.loader import Loader
from service.models.manager import Manager
from service.models.servable import Servable, State


class World:
    """A manager, what it is told, and the backends it opened."""

    def __init__(self) -> None:
        self.routed: set[object] = set()
        self.urgent: set[object] = set()
        self.opened: dict[str, FakeBackend] = {}
        self.order: list[str] = []
        self.broken: set[str] = set()
        self.condition = threading.Condition()
        self.manager = Manager(
            Loader(self.open),
            lambda description: Servable(description, max_batch=4, queue_capacity=10),
            lambda: self.routed,
            lambda: self.urgent,
            self.changed,
        )

    def open(self, description) -> FakeBackend:
        self.order.append(description.variant)
        if description.variant in self.broken:
            raise FailedPrecondition("onnxruntime cannot load this model")
        backend = self.opened[description.variant] = FakeBackend(lambda inputs: [inputs[0] * 2])
        return backend

    def changed(self) -> None:
        with self.condition:
            self.condition.notify_all()

    def states(self) -> dict[str, str]:
        return {servable.description.variant: servable.state.value for servable in self.manager.servables()}

    def wait(self, states: dict[str, str]) -> None:
        with self.condition:
            assert self.condition.wait_for(lambda: self.states() == states, 10), self.states()


@pytest.fixture
def world():
    made = World()
    made.manager.start()
    yield made
    made.manager.stop(5)


def test_what_is_wanted_is_loaded_and_what_is_not_is_unloaded(world, describe) -> None:
    first, second = describe("r1.fp32"), describe("r1.int8")
    world.manager.set_desired([first, second])
    world.wait({"r1.fp32": "READY", "r1.int8": "READY"})
    world.manager.set_desired([second])
    world.wait({"r1.int8": "READY"})
    assert world.opened["r1.fp32"].closed
    assert not world.opened["r1.int8"].closed


def test_what_traffic_waits_for_is_loaded_first(world, describe) -> None:
    descriptions = [describe(f"r1.v{number}") for number in range(4)]
    world.urgent = {descriptions[3].key}
    world.manager.set_desired(descriptions)
    world.wait({f"r1.v{number}": "READY" for number in range(4)})
    assert world.order[0] == "r1.v3"


def test_a_failed_load_leaves_the_others_and_a_reason(world, describe) -> None:
    world.broken = {"r1.int8"}
    world.manager.set_desired([describe("r1.int8"), describe("r1.fp32")])
    world.wait({"r1.int8": "FAILED", "r1.fp32": "READY"})
    (failed,) = [servable for servable in world.manager.servables() if servable.state is State.FAILED]
    assert failed.reason == "onnxruntime cannot load this model"
    world.manager.set_desired([describe("r1.fp32")])
    world.wait({"r1.fp32": "READY"})


def test_a_changed_or_missing_file_is_not_loaded(world, describe) -> None:
    changed, missing = describe("r1.changed"), describe("r1.missing")
    changed.path.write_text("something else")
    missing.path.unlink()
    world.manager.set_desired([changed, missing])
    world.wait({"r1.changed": "FAILED", "r1.missing": "FAILED"})
    reasons = {servable.description.variant: servable.reason for servable in world.manager.servables()}
    assert "another sha256" in reasons["r1.changed"]
    assert "cannot be read" in reasons["r1.missing"]
    assert world.order == []


def test_without_parity_nothing_is_ready(world, describe, tmp_path) -> None:
    golden = tmp_path / "golden.npz"
    rows = np.arange(8, dtype=np.float32).reshape(4, 2)
    np.savez(golden, **{"input.x": rows, "output.y": -rows})
    world.manager.set_desired([describe("r1.fp32", golden=golden)])
    world.wait({"r1.fp32": "FAILED"})
    assert "no parity" in world.manager.servables()[0].reason
    assert world.opened["r1.fp32"].closed


def test_a_golden_file_that_cannot_be_read_fails_its_variant_alone(world, describe, tmp_path) -> None:
    golden = tmp_path / "golden.npz"
    golden.write_bytes(b"\x80\x04 a pickle")
    world.manager.set_desired([describe("r1.int8", golden=golden), describe("r1.fp32")])
    world.wait({"r1.int8": "FAILED", "r1.fp32": "READY"})
    assert "cannot be read" in world.manager.servables()[0].reason


def test_what_still_has_traffic_is_kept_until_it_has_none(world, describe) -> None:
    old = describe("r1.fp32")
    world.routed = {old.key}
    world.manager.set_desired([old])
    world.wait({"r1.fp32": "READY"})
    world.manager.set_desired([describe("r2.fp32")])
    world.wait({"r2.fp32": "READY", "r1.fp32": "READY"})
    world.routed = set()
    world.manager.reconsider()
    world.wait({"r2.fp32": "READY"})


def test_unloading_waits_for_the_last_handle(world, describe) -> None:
    world.manager.set_desired([describe("r1.fp32")])
    world.wait({"r1.fp32": "READY"})
    (servable,) = world.manager.servables()
    assert servable.acquire()
    world.manager.set_desired([])
    world.wait({"r1.fp32": "DRAINING"})
    assert not world.opened["r1.fp32"].closed
    servable.release()
    world.wait({})
    assert world.opened["r1.fp32"].closed


def test_what_is_wanted_again_while_it_drains_comes_back(world, describe) -> None:
    description = describe("r1.fp32")
    world.manager.set_desired([description])
    world.wait({"r1.fp32": "READY"})
    (servable,) = world.manager.servables()
    assert servable.acquire()
    world.manager.set_desired([])
    world.wait({"r1.fp32": "DRAINING"})
    world.manager.set_desired([description])
    servable.release()
    world.wait({"r1.fp32": "READY"})
    assert world.manager.servables()[0] is not servable


def test_figures_may_be_told_anew_without_loading_again(world, describe) -> None:
    description = describe("r1.fp32")
    world.manager.set_desired([description])
    world.wait({"r1.fp32": "READY"})
    world.manager.set_desired([dataclasses.replace(description, labels=(("accuracy", "0.98"),))])
    assert world.manager.servables()[0].description.labels == (("accuracy", "0.98"),)
    assert world.order == ["r1.fp32"]
