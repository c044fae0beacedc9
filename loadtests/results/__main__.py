"""`make results`: every field through a running server, then the peers, then docs/results.md."""

import argparse
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from loadtests.commands import CommandFailed
from loadtests.fields.catalogue import FIELDS
from loadtests.local_server import serve, stop
from loadtests.results import field_run
from loadtests.results.page import page
from loadtests.results.peers import peers_of
from optimizer.artifact.hardware import fingerprint


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs; exit code 0 when the page is written, whatever it says."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.results", description=__doc__)
    parser.add_argument("fields", nargs="*", default=list(FIELDS), help=f"of {', '.join(FIELDS)}; default: all")
    parser.add_argument("--cache", type=Path, default=Path(".cache/results"), help="sources and server (%(default)s)")
    parser.add_argument("--page", type=Path, default=Path("docs/results.md"), help="default: %(default)s")
    parser.add_argument("--budget", default="3m", help="of each field's automatic recipes (default: %(default)s)")
    parser.add_argument("--nncf-python", type=Path, help="interpreter of an environment that has nncf")
    given = parser.parse_args(arguments)
    began = time.monotonic()
    home = given.cache / "home"
    shutil.rmtree(home, ignore_errors=True)
    given.cache.mkdir(parents=True, exist_ok=True)
    try:
        prepared = {name: field_run.prepare(FIELDS[name], given.cache) for name in given.fields}
        server, address = serve(home, given.cache / "serve.log")
        try:
            results = [
                field_run.run(FIELDS[name], prepared[name], address, given.cache / "pulled", given.budget)
                for name in given.fields
            ]
        except BaseException:
            server.terminate()
            server.wait()
            raise
        stop(server)
        peers = {result.field.name: peers_of(result, given.cache / "peers", given.nncf_python) for result in results}
    except CommandFailed as error:
        print(f"results failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    given.page.write_text(page(results, peers, fingerprint(), (time.monotonic() - began) / 60, ()))
    print(f"written: {given.page}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
