import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.budgets import Compiled, Latency, Slo
from loadtests.pressure import Pressure
from loadtests.slo import Check, Result, Run, Seen, Verdict, judge, verdict
from service.client.figures import Metric

_CALM = Pressure(dispatch_lag_p99_ms=1.0, wake_lag_p99_ms=1.0, cpu_share=0.3, cpu_share_worst=0.4)
_CLAIM = Metric("accuracy", value=0.95, low=0.94, high=0.96, n=2000)


def seen(variant: str = "r1.fp32", weight: float = 1.0, **changes: Any) -> Seen:
    """A variant that answered as its manifest says, in time."""
    good: dict[str, Any] = {
        "claimed": _CLAIM,
        "rows": 1000,
        "right": 950.0,
        "answers": 1000,
        "same_answers": 1000,
        "latency_ms": {"p50": 20.0, "p95": 40.0, "p99": 60.0},
    }
    return Seen(variant, weight, **(good | changes))


def run(*variants: Seen, **changes: Any) -> Run:
    good: dict[str, Any] = {
        "variants": variants or (seen(),),
        "calls": 1000,
        "errors": 0,
        "users": {one.variant: round(200 * one.weight) for one in variants or (seen(),)},
        "torn": 0,
        "strangers": (),
        "pressure": _CALM,
    }
    return Run(**(good | changes))


def pair(**changes: Any) -> Run:
    return run(seen("r1.fp32", 0.5), seen("r1.int8", 0.5), **changes)


def check(checks: list[Check], name: str, subject: str | None = None) -> Check:
    """The one check of that name."""
    (found,) = (one for one in checks if one.name == name and subject in (None, one.subject))
    return found


def result(of: Run, name: str, slo: Slo | None = None, subject: str | None = None) -> Result:
    return check(judge(of, slo or Slo()), name, subject).result


def test_a_good_run_passes_every_check() -> None:
    checks = judge(pair(), Slo())
    assert {one.result for one in checks} == {Result.PASS}
    assert verdict(checks) is Verdict.PASS
    assert [one.subject for one in checks[:3]] == ["load generator"] * 3


@pytest.mark.parametrize(
    ("results", "expected"),
    [
        ([Result.PASS], Verdict.PASS),
        ([Result.PASS, Result.SKIPPED], Verdict.PASS),
        ([Result.PASS, Result.INVALID, Result.SKIPPED], Verdict.INVALID),
        ([Result.INVALID, Result.FAIL, Result.PASS], Verdict.FAIL),
        ([], Verdict.PASS),
    ],
)
def test_fail_comes_before_invalid_before_pass(results: list[Result], expected: Verdict) -> None:
    assert verdict([Check("all", "one", one, "", "") for one in results]) is expected


@pytest.mark.parametrize(("errors", "expected"), [(0, Result.PASS), (1, Result.PASS), (2, Result.FAIL)])
def test_errors_up_to_the_share(errors: int, expected: Result) -> None:
    assert result(run(calls=1000, errors=errors), "errors") is expected


def test_nothing_sent_is_no_success() -> None:
    assert verdict(judge(run(calls=0), Slo())) is Verdict.INVALID
    assert result(run(calls=0), "errors") is Result.INVALID


@pytest.mark.parametrize(("value_ms", "expected"), [(99.9, Result.PASS), (100.0, Result.PASS), (100.1, Result.FAIL)])
def test_latency_up_to_the_budget(value_ms: float, expected: Result) -> None:
    one = run(seen(latency_ms={"p50": value_ms, "p95": 200.0, "p99": 200.0}))
    assert result(one, "p50 latency") is expected
    assert result(one, "p95 latency") is Result.PASS


def test_latency_without_answers_cannot_be_judged() -> None:
    assert result(run(seen(latency_ms={}, rows=0, right=0.0, answers=0, same_answers=0)), "p99 latency") is (
        Result.INVALID
    )


def test_a_quantile_without_budget_is_not_judged() -> None:
    names = [one.name for one in judge(run(), Slo(latency=Latency(p95_ms=50)))]
    assert [name for name in names if name.endswith("latency")] == ["p95 latency"]


@pytest.mark.parametrize(("compiled_ms", "expected"), [(3.9, Result.PASS), (4.0, Result.PASS), (4.1, Result.FAIL)])
@pytest.mark.parametrize("pressure", [_CALM, dataclasses.replace(_CALM, cpu_share=0.99)])
def test_a_tight_budget_is_the_compiled_clients(compiled_ms: float, expected: Result, pressure: Pressure) -> None:
    """Locust says 20 ms; h2load's figure counts, whatever state the generator was in."""
    slo = Slo(latency=Latency(p50_ms=4))
    one = run(seen(compiled_ms={"p50": compiled_ms, "p95": 5.0, "p99": 6.0}), pressure=pressure)
    assert result(one, "p50 latency", slo) is expected


def test_a_tight_budget_without_the_compiled_client_is_not_judged_and_says_why() -> None:
    checks = judge(run(seen(not_compiled="h2load is absent")), Slo(latency=Latency(p50_ms=4)))
    found = check(checks, "p50 latency")
    assert (found.result, found.seen) == (Result.SKIPPED, "h2load is absent")
    assert verdict(checks) is Verdict.PASS


def test_the_limit_itself_is_judged_by_locust() -> None:
    slo = Slo(latency=Latency(p50_ms=10), compiled=Compiled(below_ms=10))
    assert result(run(seen(compiled_ms={"p50": 1.0})), "p50 latency", slo) is Result.FAIL


@pytest.mark.parametrize(
    ("name", "field", "limit"),
    [
        ("requests leave on time", "dispatch_lag_p99_ms", 50.0),
        ("users wake up on time", "wake_lag_p99_ms", 50.0),
        ("not saturated", "cpu_share", 0.85),
    ],
)
def test_a_pressed_generator_invalidates(name: str, field: str, limit: float) -> None:
    at, beyond = (run(pressure=dataclasses.replace(_CALM, **{field: value})) for value in (limit, limit * 1.001))
    assert result(at, name) is Result.PASS
    assert result(beyond, name) is Result.INVALID
    assert verdict(judge(beyond, Slo())) is Verdict.INVALID


def test_the_worst_second_alone_does_not_invalidate() -> None:
    assert verdict(judge(run(pressure=dataclasses.replace(_CALM, cpu_share_worst=1.2)), Slo())) is Verdict.PASS


_PRESSURES = st.builds(
    Pressure, *[st.floats(0, 200)] * 2, cpu_share=st.floats(0, 2), cpu_share_worst=st.floats(0, 2)
).filter(lambda one: max(one.dispatch_lag_p99_ms, one.wake_lag_p99_ms) > 50 or one.cpu_share > 0.85)


@given(_PRESSURES, st.floats(0, 1e5), st.integers(0, 1000))
def test_a_saturated_generator_never_fails_latency_or_errors(pressure: Pressure, value_ms: float, errors: int) -> None:
    slow = seen(latency_ms={"p50": value_ms, "p95": value_ms, "p99": value_ms})
    checks = judge(run(slow, pressure=pressure, errors=errors), Slo())
    assert not [one for one in checks if one.result is Result.FAIL]
    assert verdict(checks) is Verdict.INVALID


@given(_PRESSURES)
def test_a_saturated_generator_is_no_excuse_for_wrong_answers(pressure: Pressure) -> None:
    assert verdict(judge(run(seen(right=800.0), pressure=pressure), Slo())) is Verdict.FAIL


@given(st.integers(200, 5000), st.floats(0.94, 0.96))
def test_accuracy_that_the_manifest_allows_passes(rows: int, share: float) -> None:
    assert result(run(seen(rows=rows, right=rows * share)), "accuracy") is Result.PASS


@given(st.integers(400, 5000), st.sampled_from([-1, 1]))
def test_a_ten_point_change_fails(rows: int, direction: int) -> None:
    """Both ways: answers that are much better than was measured are not the same model either."""
    claim = Metric("accuracy", value=0.85, low=0.84, high=0.86, n=5000)
    one = seen(rows=rows, right=rows * (0.85 + direction * 0.1), claimed=claim)
    assert result(run(one), "accuracy") is Result.FAIL


def test_few_rows_cannot_judge_accuracy() -> None:
    assert result(run(seen(rows=199, right=100.0)), "accuracy") is Result.INVALID
    assert result(run(seen(rows=200, right=100.0)), "accuracy") is Result.FAIL


@pytest.mark.parametrize(("same", "expected"), [(990, Result.PASS), (989, Result.FAIL)])
def test_answers_must_be_those_of_the_measurement(same: int, expected: Result) -> None:
    assert result(run(seen(same_answers=same)), "same answers") is expected


def test_no_answers_cannot_be_compared() -> None:
    assert result(run(seen(answers=0, same_answers=0)), "same answers") is Result.INVALID


# At one degree of freedom 0.001 is 10.83: with 200 users, 23 away from 100 gives 10.58, and 24 gives 11.52.
@pytest.mark.parametrize(("ours", "expected"), [(100, Result.PASS), (123, Result.PASS), (124, Result.FAIL)])
def test_users_follow_the_weights(ours: int, expected: Result) -> None:
    assert result(pair(users={"r1.fp32": ours, "r1.int8": 200 - ours}), "split") is expected


def test_an_arm_that_nobody_reached_fails() -> None:
    assert result(pair(users={"r1.fp32": 200}), "split") is Result.FAIL


def test_weights_need_not_sum_to_one() -> None:
    """An arm without traffic is left out, and rounding may leave a trace."""
    one = run(seen("a", 0.3333), seen("b", 0.3333), users={"a": 100, "b": 100})
    assert check(judge(one, Slo()), "split").seen == "users: a 100, b 100 (chance alone: 1)"


def test_too_few_users_are_not_judged() -> None:
    few, enough = (run(seen("a", 0.95), seen("b", 0.05), users={"a": users, "b": 0}, torn=0) for users in (99, 100))
    assert result(few, "split") is Result.SKIPPED
    assert result(enough, "split") is not Result.SKIPPED


def test_one_arm_has_no_split_to_judge() -> None:
    assert "split" not in [one.name for one in judge(run(), Slo())]


def test_a_stranger_fails_and_is_named() -> None:
    found = check(judge(run(strangers=("r0.old",)), Slo()), "who answers")
    assert (found.result, found.seen) == (Result.FAIL, "r0.old")


def test_a_user_of_two_variants_fails() -> None:
    assert result(pair(torn=1), "sticky") is Result.FAIL


def test_a_split_changed_under_way_invalidates_and_excuses_what_follows_from_it() -> None:
    checks = judge(pair(split_changed=True, torn=50, strangers=("r2.fp32",), users={"r1.fp32": 200}), Slo())
    assert check(checks, "split").result is Result.INVALID
    assert verdict(checks) is Verdict.INVALID


def test_each_variant_is_judged_by_its_own_budget_and_answers() -> None:
    slo = Slo(variants={"r1.int8": Latency(p99_ms=50)})
    checks = judge(run(seen("r1.fp32", 0.5), seen("r1.int8", 0.5, right=700.0)), slo)
    assert check(checks, "p99 latency", "r1.fp32").result is Result.PASS
    assert check(checks, "p99 latency", "r1.int8").result is Result.FAIL
    assert check(checks, "accuracy", "r1.fp32").result is Result.PASS
    assert check(checks, "accuracy", "r1.int8").result is Result.FAIL
