"""`python -m loadtests run`: a load test against a running server, judged by latency and accuracy of each variant.

Exit codes: 0 every demand is met, 1 a demand is not met, 2 bad use, 3 something demanded could not be judged (the load
generator was saturated, say), 4 the load test could not be run.
"""

import argparse
import os
import re
import sys
from pathlib import Path

from loadtests import budgets
from loadtests.run import Request, run
from loadtests.slo import Verdict
from optimizer.errors import InvalidInput
from service.errors import InvalidArgument, ServiceError

_EXIT = {Verdict.PASS: 0, Verdict.FAIL: 1, Verdict.INVALID: 3}
_COULD_NOT_RUN = 4
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(s|m)?")


def duration(text: str) -> float:
    """Seconds of "20s", "2m" or "20"."""
    found = _DURATION.fullmatch(text)
    if found is None or float(found[1]) <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration: write 20s or 2m")
    return float(found[1]) * (60 if found[2] == "m" else 1)


def positive(text: str) -> float:
    """A number above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m loadtests", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    one = verbs.add_parser(
        "run",
        help="load a server and judge it",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    server = os.environ.get("STILLROOM_SERVER", "127.0.0.1:8001")
    one.add_argument("--server", default=server, metavar="HOST:PORT", help=f"gRPC address (default: {server})")
    one.add_argument("--model", required=True, metavar="NAME", help="model whose split is tested")
    one.add_argument("--data", required=True, type=Path, metavar="FILE", help="the evaluation data that was pushed")
    one.add_argument("--duration", type=duration, default=20.0, metavar="20s", help="of the load (default: 20s)")
    one.add_argument("--users", type=int, default=200, metavar="N", help="simulated users, each with a routing key")
    one.add_argument(
        "--arrivals", choices=("poisson", "constant", "closed"), default="poisson", help="(default: poisson)"
    )
    one.add_argument(
        "--rate", type=positive, metavar="N", help="calls a second (default: half of what is measured first)"
    )
    one.add_argument("--slo", type=Path, default=budgets.DEFAULT_FILE, metavar="FILE", help="demands, as TOML")
    one.add_argument("--out", type=Path, default=Path("report"), metavar="DIR", help="(default: report)")
    one.add_argument("--seed", type=int, default=0, metavar="N", help="of arrivals and order (default: 0)")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    parser = _parser()
    given = parser.parse_args(arguments)
    if given.users < 1:
        parser.error("--users must be at least 1")
    # Late: these need the extra `report`, and --help does not.
    from loadtests import report

    try:
        request = Request(
            server=given.server,
            model=given.model,
            data=given.data,
            seconds=given.duration,
            users=given.users,
            slo=budgets.read(given.slo),
            arrivals=given.arrivals,
            rate_per_second=given.rate,
            seed=given.seed,
        )
        judged = run(request, lambda line: print(line, file=sys.stderr, flush=True))
        written = report.write(judged, given.out)
    except (InvalidArgument, InvalidInput) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except ServiceError as error:
        print(f"error: {error}", file=sys.stderr)
        return _COULD_NOT_RUN
    print(report.to_text(judged))
    print()
    print("written:", " ".join(str(path) for path in written))
    return _EXIT[judged.verdict]


if __name__ == "__main__":
    raise SystemExit(main())
