"""From tallies and claims to what the verdict is a function of. Pure."""

from collections import Counter, defaultdict
from collections.abc import Mapping

from loadtests.claims import Claim, Claims
from loadtests.compiled import QUANTILES
from loadtests.plan import Outcome
from loadtests.slo import Run, Seen
from loadtests.tally import Tally


def run_of(
    claims: Claims, outcome: Outcome, compiled: Mapping[str, Mapping[str, float]], not_compiled: str, changed: bool
) -> Run:
    """Everything that was seen. `compiled` holds h2load's quantiles by variant; `changed`: the split did."""
    arms = {claim.variant for claim in claims.claims}
    tally = outcome.tally
    users: Counter[str] = Counter()
    for variants in tally.answered_by.values():
        if len(variants) == 1:
            users.update(variants)
    return Run(
        variants=tuple(
            _seen(claims, claim, tally, compiled.get(claim.variant), not_compiled) for claim in claims.claims
        ),
        calls=tally.sent,
        errors=tally.errors.total(),
        users=users,
        torn=sum(len(variants) > 1 for variants in tally.answered_by.values()),
        strangers=tuple(sorted(set(tally.variants) - arms)),
        pressure=outcome.pressure,
        split_changed=changed,
    )


def _seen(claims: Claims, claim: Claim, tally: Tally, compiled: Mapping[str, float] | None, not_compiled: str) -> Seen:
    seen = tally.variants.get(claim.variant)
    recorded = dict(zip(claim.rows.tolist(), claim.prediction.tolist(), strict=True))
    answered: dict[int, Counter[int]] = defaultdict(Counter)
    for (sample, predicted), times in seen.answers.items() if seen is not None else ():
        answered[sample][predicted] += times
    right = sum(said[int(claims.truth[sample])] / said.total() for sample, said in answered.items())
    same = sum(said[recorded[int(claims.rows[sample])]] for sample, said in answered.items())
    latency = seen.latency if seen is not None and seen.latency.count else None
    return Seen(
        variant=claim.variant,
        weight=claim.weight,
        claimed=claim.metric,
        rows=len(answered),
        right=right,
        answers=sum(said.total() for said in answered.values()),
        same_answers=same,
        latency_ms={} if latency is None else {name: latency.quantile(share) for name, share in QUANTILES.items()},
        compiled_ms=compiled,
        not_compiled=not_compiled,
    )
