import time

import pytest

from service.errors import NotFound, Unavailable
from service.routing.router import Route, Router
from service.routing.split import Split


def router(split: Split | None = None, ready=("r1.fp32", "r1.int8"), waiting=()) -> Router[str]:
    made: Router[str] = Router()
    made.swap({("default", "mnist"): Route({name: name.upper() for name in ready}, frozenset(waiting), split)})
    return made


HALVES = Split({"r1.fp32": 5000, "r1.int8": 5000}, "salt")


def test_without_a_version_the_split_decides() -> None:
    routes = router(HALVES)
    drawn = [routes.choose("default", "mnist", "", None) for _ in range(1000)]
    assert 480 <= drawn.count("R1.FP32") <= 520
    assert len({routes.choose("default", "mnist", "", "ada") for _ in range(20)}) == 1


def test_a_variants_name_pins_it() -> None:
    assert router(HALVES).choose("default", "mnist", "r1.int8", "whoever") == "R1.INT8"
    assert router(None).choose("default", "mnist", "r1.int8", None) == "R1.INT8"


@pytest.mark.parametrize(
    ("model", "version", "tenant", "message"),
    [
        ("nothing", "", "default", "Request for unknown model: 'nothing' is not found"),
        ("mnist", "9", "default", "'mnist' version 9 is not found"),
        ("mnist", "", "other", "'mnist' is not found"),
    ],
)
def test_what_is_unknown_is_not_found(model, version, tenant, message) -> None:
    with pytest.raises(NotFound, match=message):
        router(HALVES).choose(tenant, model, version, None)


def test_what_is_not_ready_is_unavailable() -> None:
    routes = router(None, ready=(), waiting=("r1.fp32",))
    with pytest.raises(Unavailable, match="at ready state"):
        routes.choose("default", "mnist", "", None)
    with pytest.raises(Unavailable, match=r"version r1\.fp32 is not at ready state"):
        routes.choose("default", "mnist", "r1.fp32", None)
    with pytest.raises(NotFound, match="no available versions"):
        router(None, ready=()).choose("default", "mnist", "", None)


def test_a_swap_is_seen_at_once_and_whole() -> None:
    routes = router(HALVES)
    routes.swap({})
    with pytest.raises(NotFound):
        routes.choose("default", "mnist", "", None)
    assert routes.models("default") == []


def test_a_choice_takes_microseconds() -> None:
    routes = router(HALVES)
    best = float("inf")
    for _ in range(20):
        began = time.perf_counter()
        for number in range(200):
            routes.choose("default", "mnist", "", f"user-{number}")
        best = min(best, (time.perf_counter() - began) / 200)
    assert best < 20e-6  # A generous multiple of what it takes, since other work shares the cores.
