"""The verdict of a load test: a pure function of what was demanded, what was claimed and what was seen.

    PASS     every check that could be made passed
    FAIL     a check failed
    INVALID  nothing failed, but something that was demanded could not be judged: the load generator was saturated,
             a variant answered too few rows, or the split changed under way

A saturated generator takes the blame for latency and errors only: an answer is right or wrong however late it is sent.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from loadtests.budgets import Slo
from loadtests.chance import chi_square_p, smallest_expected
from loadtests.pressure import Pressure
from optimizer.metrics.intervals import wilson
from service.client.figures import Metric

# Below so many expected users in the rarest arm the chi-square distribution is no good approximation (Cochran, 1954).
_FEWEST_EXPECTED = 5.0


class Result(StrEnum):
    """What became of one check."""

    PASS = "pass"  # noqa: S105  Not a password.
    FAIL = "fail"
    # Demanded, and could not be judged.
    INVALID = "invalid"
    # Not demanded strictly, and not judged; the text says why.
    SKIPPED = "not judged"


class Verdict(StrEnum):
    """What became of the load test."""

    PASS = "PASS"  # noqa: S105
    FAIL = "FAIL"
    INVALID = "INVALID"


@dataclass(frozen=True)
class Check:
    """One demand, in words for a table."""

    # A variant's name, or "all" or "load generator".
    subject: str
    name: str
    result: Result
    seen: str
    demanded: str


@dataclass(frozen=True)
class Seen:
    """One variant under load."""

    variant: str
    # Share of the traffic that it was to have.
    weight: float
    claimed: Metric
    # Different rows answered, and how many of them right; rows answered differently at times count in parts.
    rows: int
    right: float
    answers: int
    # Answers that name the class which the variant named when it was measured.
    same_answers: int
    # Quantile ("p50") to milliseconds, as Locust saw it; empty when there were no answers.
    latency_ms: Mapping[str, float]
    # The same from the compiled client; None where it was not used.
    compiled_ms: Mapping[str, float] | None = None
    # Why it was not used, where a budget asks for it.
    not_compiled: str = ""


@dataclass(frozen=True)
class Run:
    """Everything that was seen."""

    variants: tuple[Seen, ...]
    calls: int
    errors: int
    # Simulated users by the variant that answered them; those that met more than one are in `torn`.
    users: Mapping[str, int]
    torn: int
    # Names in replies that are no arm of the split.
    strangers: tuple[str, ...]
    pressure: Pressure
    split_changed: bool = False


def judge(run: Run, slo: Slo) -> list[Check]:
    """All checks, those of the generator first."""
    generator = _generator(run.pressure, slo)
    blamed = next((check.name for check in generator if check.result is Result.INVALID), "")
    checks = [*generator, _errors(run, slo, blamed), *_split(run, slo)]
    for seen in run.variants:
        checks.extend([_accuracy(seen, slo), _same_answers(seen, slo), *_latency(seen, slo, blamed)])
    return checks


def verdict(checks: Sequence[Check]) -> Verdict:
    """FAIL before INVALID before PASS."""
    results = {check.result for check in checks}
    if Result.FAIL in results:
        return Verdict.FAIL
    return Verdict.INVALID if Result.INVALID in results else Verdict.PASS


def _generator(pressure: Pressure, slo: Slo) -> list[Check]:
    limits = slo.generator
    lags = [
        ("requests leave on time", pressure.dispatch_lag_p99_ms, limits.max_dispatch_lag_ms),
        ("users wake up on time", pressure.wake_lag_p99_ms, limits.max_wake_lag_ms),
    ]
    checks = [
        _check(
            "load generator", name, seen_ms <= limit_ms, f"{seen_ms:.1f} ms late (p99)", f"at most {limit_ms:g} ms",
            otherwise=Result.INVALID,
        )
        for name, seen_ms, limit_ms in lags
    ]  # fmt: skip
    share = pressure.cpu_share
    return [
        *checks,
        _check(
            "load generator", "not saturated", share <= limits.max_cpu_share, f"{share:.0%} of a core",
            f"at most {limits.max_cpu_share:.0%}", otherwise=Result.INVALID,
        ),
    ]  # fmt: skip


def _errors(run: Run, slo: Slo, blamed: str) -> Check:
    demanded = f"at most {slo.errors.max_share:.2%} of calls"
    if not run.calls:
        return Check("all", "errors", Result.INVALID, "nothing was sent", demanded)
    share = run.errors / run.calls
    fine = share <= slo.errors.max_share
    seen = f"{run.errors} of {run.calls} calls ({share:.2%})"
    return _check("all", "errors", fine, seen, demanded, otherwise=Result.INVALID if blamed else Result.FAIL)


def _split(run: Run, slo: Slo) -> list[Check]:
    """Users, not requests, are what the split deals out: all requests of one user go to one variant."""
    if run.split_changed:
        return [Check("all", "split", Result.INVALID, "the split was changed during the run", "one split throughout")]
    checks = [
        _check("all", "who answers", not run.strangers, ", ".join(run.strangers) or "arms only", "arms of the split"),
        _check("all", "sticky", run.torn == 0, f"{run.torn} users met several variants", "one variant a user"),
    ]
    weights = {seen.variant: seen.weight for seen in run.variants}
    counts = [run.users.get(variant, 0) for variant in weights]
    if len(weights) < 2:
        return checks
    shown = ", ".join(f"{variant} {count}" for variant, count in zip(weights, counts, strict=True))
    demanded = ", ".join(f"{variant} {weight:.0%}" for variant, weight in weights.items())
    shares = [weight / sum(weights.values()) for weight in weights.values()]
    if smallest_expected(counts, shares) < _FEWEST_EXPECTED:
        return [*checks, Check("all", "split", Result.SKIPPED, f"too few users to tell: {shown}", demanded)]
    chance = chi_square_p(counts, shares)
    seen_text = f"users: {shown} (chance alone: {chance:.2g})"
    return [*checks, _check("all", "split", chance >= slo.split.level, seen_text, demanded)]


def _accuracy(seen: Seen, slo: Slo) -> Check:
    """Fails when no accuracy that the manifest allows explains what was seen, at the stated confidence."""
    claimed, demands = seen.claimed, slo.accuracy
    demanded = f"{claimed.low:.4f} to {claimed.high:.4f} ({claimed.name} in the manifest)"
    if seen.rows < demands.min_rows:
        shown = f"{seen.rows} different rows answered; {demands.min_rows} are needed"
        return Check(seen.variant, "accuracy", Result.INVALID, shown, demanded)
    found = wilson(round(seen.right), seen.rows, demands.confidence)
    interval = f"{found.low:.4f} to {found.high:.4f} at {demands.confidence:g}"
    shown = f"{seen.right / seen.rows:.4f} ({interval}, {seen.rows} rows)"
    fits = found.low <= claimed.high and found.high >= claimed.low
    return _check(seen.variant, "accuracy", fits, shown, demanded)


def _same_answers(seen: Seen, slo: Slo) -> Check:
    demanded = f"at least {slo.accuracy.min_same_answers:.2%} as when measured"
    if not seen.answers:
        return Check(seen.variant, "same answers", Result.INVALID, "no answers", demanded)
    share = seen.same_answers / seen.answers
    shown = f"{seen.same_answers} of {seen.answers} ({share:.2%})"
    return _check(seen.variant, "same answers", share >= slo.accuracy.min_same_answers, shown, demanded)


def _latency(seen: Seen, slo: Slo, blamed: str) -> list[Check]:
    checks = []
    for quantile, budget_ms in slo.budgets(seen.variant).items():
        demanded = f"at most {budget_ms:g} ms"
        name = f"{quantile} latency"
        if slo.is_compiled(budget_ms):
            if seen.compiled_ms is None:
                checks.append(Check(seen.variant, name, Result.SKIPPED, seen.not_compiled, demanded))
            else:
                value_ms = seen.compiled_ms[quantile]
                shown = f"{value_ms:.2f} ms (h2load)"
                checks.append(_check(seen.variant, name, value_ms <= budget_ms, shown, demanded))
        elif quantile not in seen.latency_ms:
            checks.append(Check(seen.variant, name, Result.INVALID, "no answers", demanded))
        else:
            value_ms = seen.latency_ms[quantile]
            late = Result.INVALID if blamed else Result.FAIL
            shown = f"{value_ms:.1f} ms" + (" (load generator saturated)" if blamed and value_ms > budget_ms else "")
            checks.append(_check(seen.variant, name, value_ms <= budget_ms, shown, demanded, otherwise=late))
    return checks


def _check(subject: str, name: str, fine: bool, seen: str, demanded: str, *, otherwise: Result = Result.FAIL) -> Check:
    return Check(subject, name, Result.PASS if fine else otherwise, seen, demanded)
