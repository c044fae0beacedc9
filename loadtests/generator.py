"""The load generator's process: `python -m loadtests.generator SPOOL`; started by `loadtests.run`.

It is a process of its own because gevent replaces the standard library's sockets and threads under everything that is
imported afterwards: the one who judges and draws wants none of that. Errors go to standard error in one line, exit 1.
"""

import sys
from pathlib import Path


def main() -> int:
    """Patches the process, then runs the plan in the spool directory and leaves the outcome there."""
    # The order matters: gevent first, gRPC's support for it next, and only then whatever makes a channel.
    from gevent import monkey

    monkey.patch_all()
    from grpc.experimental import gevent as grpc_gevent

    grpc_gevent.init_gevent()
    from loadtests.drive import NothingAnswered, run
    from loadtests.plan import PLAN_FILE, Plan
    from loadtests.selfcheck import CallsDoNotOverlap

    spool = Path(sys.argv[1])
    plan = Plan.model_validate_json((spool / PLAN_FILE).read_text())
    try:
        outcome = run(plan, spool, lambda line: print(f"  {line}", flush=True))
    except (CallsDoNotOverlap, NothingAnswered) as error:
        print(error, file=sys.stderr)
        return 1
    outcome.save(spool)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
