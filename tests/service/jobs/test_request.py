"""What a job may be asked for, and that its row gives it back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.recipe.objective import PREFERENCES, Objective
from service.errors import InvalidArgument
from service.jobs.request import Asked, asked, objective


@given(
    st.floats(0, 0.99),
    st.sampled_from(PREFERENCES),
    st.floats(0.001, 1e6),
    st.integers(1024, 2**40),
    st.floats(0, 1e9),
    st.integers(0, 2**63 - 1),
    st.booleans(),
)
def test_a_row_gives_back_what_was_asked(
    drop: float, prefer: str, p95_ms: float, size_bytes: int, budget: float, seed: int, auto: bool
) -> None:
    made = asked(objective(drop, prefer, p95_ms, size_bytes), budget, seed, auto)
    assert Asked.from_json(made.to_json()) == made


def test_a_row_of_an_older_version_is_read() -> None:
    old = Asked.from_json({"max_accuracy_drop": 0.02, "budget_seconds": 5.0, "seed": 1})
    assert old == Asked(Objective(max_accuracy_drop=0.02), 5.0, 1, auto=False)


def test_what_is_preferred_follows_from_what_is_limited() -> None:
    assert objective().prefer == "latency"
    assert objective(max_size_bytes=10_000).prefer == "size"
    assert objective(max_size_bytes=10_000, max_p95_ms=5).prefer == "latency"
    assert objective(prefer="accuracy", max_p95_ms=5).prefer == "accuracy"


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"max_accuracy_drop": -0.1}, "max_accuracy_drop is -0.1; it must be at least 0 and below 1"),
        ({"max_accuracy_drop": 1.0}, "max_accuracy_drop"),
        ({"max_accuracy_drop": float("nan")}, "max_accuracy_drop"),
        ({"max_p95_ms": 0.0}, "max_p95_ms is 0.0"),
        ({"max_p95_ms": float("inf")}, "finite"),
        ({"max_p95_ms": float("nan")}, "max_p95_ms"),
        ({"max_size_bytes": 0}, "no model is smaller than 1024 bytes"),
        ({"prefer": "beauty"}, "one of latency, size, memory, accuracy"),
        ({"prefer": "accuracy"}, "give a largest latency or a largest size as well"),
    ],
)
def test_what_nothing_could_keep_is_refused(values: dict[str, float], sentence: str) -> None:
    with pytest.raises(InvalidArgument, match=sentence):
        objective(**values)  # type: ignore[arg-type]
