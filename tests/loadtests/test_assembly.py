import numpy as np
import pytest

from loadtests.assembly import run_of
from loadtests.claims import Claim, Claims
from loadtests.plan import Outcome
from loadtests.pressure import Pressure
from loadtests.tally import Tally
from optimizer.artifact.signature import Signature, TensorSpec
from service.client.figures import Metric

_PRESSURE = Pressure(1.0, 2.0, 0.3, 0.4)
_SIGNATURE = Signature(
    inputs=(TensorSpec(name="x", datatype="FP32", shape=("batch", 4)),),
    outputs=(
        TensorSpec(name="label", datatype="INT64", shape=("batch",)),
        TensorSpec(name="scores", datatype="FP32", shape=("batch", 3)),
    ),
)


def claim(variant: str, weight: float, rows: list[int], prediction: list[int]) -> Claim:
    metric = Metric("accuracy", 0.9, 0.85, 0.95, len(rows))
    return Claim(variant, weight, metric, 3.0, np.array(rows), np.array(prediction))


@pytest.fixture
def claims() -> Claims:
    """Rows 10, 20 and 30 are sent; "b" was measured on more of them than "a"."""
    arms = (claim("a", 0.75, [10, 20, 30], [0, 1, 2]), claim("b", 0.25, [5, 10, 20, 30], [9, 0, 1, 1]))
    return Claims("digits", 4, arms, np.array([10, 20, 30]), np.array([0, 1, 1]), _SIGNATURE)


def outcome(tally: Tally) -> Outcome:
    return Outcome(tally, _PRESSURE, 2.0, None, 100.0, 0.3, {})


def test_scores_are_read_from_the_first_floating_output(claims: Claims) -> None:
    assert claims.output == "scores"


def test_answers_are_compared_with_truth_and_with_the_record(claims: Claims) -> None:
    tally = Tally()
    for sample, predicted in [(0, 0), (1, 1), (2, 2), (2, 2)]:
        tally.reply("u1", "a", sample, predicted, 4.0, 0.0)
    for sample, predicted in [(0, 0), (2, 1), (2, 2), (2, 0), (2, 1)]:
        tally.reply("u2", "b", sample, predicted, 8.0, 0.0)
    a, b = run_of(claims, outcome(tally), {}, "", False).variants
    # Row 30 is class 1: "a" always says 2, as it did when it was measured.
    assert (a.rows, a.right, a.answers, a.same_answers) == (3, 2.0, 4, 4)
    # "b" said 1 in two answers of four: half a row; the others differ from its record as well.
    assert (b.rows, b.right, b.answers, b.same_answers) == (2, 1.5, 5, 3)
    assert a.latency_ms.keys() == {"p50", "p95", "p99"}
    assert a.latency_ms["p99"] == pytest.approx(4.0, rel=0.005)
    assert b.latency_ms["p50"] == pytest.approx(8.0, rel=0.005)
    assert (a.weight, a.claimed) == (0.75, claims.claims[0].metric)


def test_users_are_counted_once_and_torn_ones_apart(claims: Claims) -> None:
    tally = Tally()
    for user, variant in [("u1", "a"), ("u1", "a"), ("u2", "a"), ("u3", "b"), ("u4", "a"), ("u4", "b")]:
        tally.reply(user, variant, 0, 0, 1.0, 0.0)
    seen = run_of(claims, outcome(tally), {}, "", False)
    assert seen.users == {"a": 2, "b": 1}
    assert seen.torn == 1


def test_strangers_calls_and_errors_are_told(claims: Claims) -> None:
    tally = Tally()
    tally.reply("u1", "z", 0, 0, 1.0, 0.0)
    tally.reply("u2", "y", 0, 0, 1.0, 0.0)
    tally.error("UNAVAILABLE", "gone")
    seen = run_of(claims, outcome(tally), {}, "", True)
    assert seen.strangers == ("y", "z")
    assert (seen.calls, seen.errors) == (3, 1)
    assert seen.pressure == _PRESSURE
    assert seen.split_changed


def test_a_variant_that_did_not_answer_has_no_figures(claims: Claims) -> None:
    (a, _) = run_of(claims, outcome(Tally()), {}, "", False).variants
    assert (a.rows, a.right, a.answers, a.same_answers, a.latency_ms) == (0, 0, 0, 0, {})


def test_figures_of_the_compiled_client_go_to_their_variant(claims: Claims) -> None:
    a, b = run_of(claims, outcome(Tally()), {"a": {"p50": 0.5}}, "h2load is absent", False).variants
    assert a.compiled_ms == {"p50": 0.5}
    assert b.compiled_ms is None
    assert b.not_compiled == "h2load is absent"
