"""One load test from end to end: what is claimed, the load, the compiled client, the verdict."""

import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from loadtests import compiled
from loadtests.assembly import run_of
from loadtests.budgets import Slo
from loadtests.claims import Claims, gather, load_data
from loadtests.plan import PLAN_FILE, SAMPLES_FILE, Outcome, Plan
from loadtests.shapes import Arrivals
from loadtests.slo import Check, Run, Verdict, judge, verdict
from loadtests.traffic import Samples, address, build
from service.client.client import Client
from service.errors import Unavailable

Say = Callable[[str], None]


@dataclass(frozen=True)
class Request:
    """What is asked for."""

    server: str
    model: str
    data: Path
    seconds: float
    users: int
    slo: Slo
    arrivals: Arrivals = "poisson"
    # None: half of what the server is measured to bear.
    rate_per_second: float | None = None
    seed: int = 0


@dataclass(frozen=True)
class Judged:
    """A finished load test."""

    request: Request
    claims: Claims
    outcome: Outcome
    run: Run
    checks: tuple[Check, ...]
    verdict: Verdict


def run(request: Request, say: Say) -> Judged:
    """Runs it. Raises ServiceError or InvalidInput; Unavailable when no load could be made."""
    with Client(request.server) as client, tempfile.TemporaryDirectory(prefix="stillroom-loadtest-") as scratch:
        data = load_data(client, request.model, request.data)
        claims = gather(client, request.model, data)
        samples = build(request.model, data, claims.rows.tolist(), claims.signature.inputs)
        arms = ", ".join(f"{claim.variant} {claim.weight:.0%}" for claim in claims.claims)
        say(f"{request.model}: {len(samples)} evaluation rows; split: {arms}")
        outcome = _load(request, claims, samples, Path(scratch))
        figures, not_compiled = _compiled(request, claims, samples, say)
        changed = client.traffic(request.model).generation != claims.generation
    seen = run_of(claims, outcome, figures, not_compiled, changed)
    checks = tuple(judge(seen, request.slo))
    return Judged(request, claims, outcome, seen, checks, verdict(checks))


def _load(request: Request, claims: Claims, samples: Samples, spool: Path) -> Outcome:
    plan = Plan(
        server=request.server,
        output=claims.output,
        seconds=request.seconds,
        users=request.users,
        arrivals=request.arrivals,
        rate_per_second=request.rate_per_second,
        seed=request.seed,
    )
    (spool / PLAN_FILE).write_text(plan.model_dump_json())
    samples.save(spool / SAMPLES_FILE)
    command = [sys.executable, "-m", "loadtests.generator", str(spool)]
    # Its lines are for the person who watches; the result of this command may go to a pipe.
    done = subprocess.run(command, stdout=sys.stderr, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["it left no word"])[-1]
        raise Unavailable(f"the load generator failed: {reason}")
    return Outcome.load(spool)


def _compiled(request: Request, claims: Claims, samples: Samples, say: Say) -> tuple[dict[str, dict[str, float]], str]:
    """Quantiles by variant from the compiled client, where a budget asks for it; or why there are none."""
    wanted = [
        claim.variant
        for claim in claims.claims
        if any(request.slo.is_compiled(budget) for budget in request.slo.budgets(claim.variant).values())
    ]
    if not wanted:
        return {}, ""
    h2load = compiled.find()
    if h2load is None:
        return {}, compiled.ABSENT
    figures = {}
    for variant in wanted:
        say(f"h2load asks {variant} for {request.slo.compiled.seconds:g} s")
        message = samples.bodies[0] + address(variant=variant)
        try:
            figures[variant] = compiled.latencies_ms(h2load, request.server, message, request.slo.compiled)
        except compiled.CompiledClientFailed as error:
            return figures, str(error)
    return figures, ""
