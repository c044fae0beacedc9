"""`make demo`: the whole loop on real data with the embedded defaults, through the very commands that a user types."""

import argparse
import hashlib
import io
import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from loadtests import commands
from loadtests.commands import CommandFailed
from loadtests.demo.digits import FACTS_FILE
from loadtests.local_server import serve, stop

MODEL = "digits"
SOURCE_VARIANT = "r1.fp32"
# Two points: what about 2,000 rows can resolve of variants that differ from the source on a few rows of a hundred.
MARGIN = 0.02
SPEEDUP_WANTED = 3.0
LOAD_SECONDS = 20


def source_directory(cache: Path) -> Path:
    """Where the trained source is kept; another one whenever the training or the data changes."""
    text = b"".join((Path(__file__).parent / name).read_bytes() for name in ("train_source.py", "digits.py"))
    return cache / f"source-{hashlib.sha256(text).hexdigest()[:12]}"


def train(cache: Path) -> Path:
    """Trains the source, unless that was done before. Returns the directory of checkpoint and data."""
    directory = source_directory(cache)
    if not (directory / FACTS_FILE).exists():
        print("Training the source, a small Hugging Face ResNet on MNIST digits:")
        shutil.rmtree(directory, ignore_errors=True)
        # Threads that wait for each other sleep instead of spinning: on cores shared with anything else that is
        # several times quicker, and on idle ones no slower.
        polite = os.environ | {"OMP_WAIT_POLICY": "PASSIVE"}
        commands.run([sys.executable, "-m", "loadtests.demo.train_source", str(directory)], polite)
    facts = json.loads((directory / FACTS_FILE).read_text())
    print(
        f"Source: {facts['parameters'] / 1e6:.1f} million weights, {facts['accuracy']:.2%} right on "
        f"{facts['evaluation_rows']:,} digits that it never saw ({facts['seconds']:.0f} s of training)."
    )
    return directory


def fastest(variants: Sequence[dict[str, object]]) -> tuple[str, float]:
    """Name and speed-up at batch 1 of the accepted variant that is fastest against the source."""
    found = [
        (str(variant["name"]), commands.speedup(variant))
        for variant in variants
        if variant["accepted"] and variant["parent"] is not None
    ]
    if not found:
        raise CommandFailed("no variant was accepted")
    return max(found, key=lambda pair: pair[1])


def loop(server: str, source: Path, report: Path) -> tuple[str, float]:
    """Push, optimize, split, ask, load: returns the fastest accepted variant and how many times faster it is."""
    environment = os.environ | {"STILLROOM_SERVER": server}

    def stillroom(*arguments: str) -> None:
        commands.show(["stillroom", *arguments])
        commands.run(commands.stillroom(*arguments), environment)

    data = [f"--data=train={source / 'train.npz'}", f"--data=eval={source / 'eval.npz'}"]
    stillroom("push", MODEL, str(source / "checkpoint"), *data)
    stillroom("optimize", MODEL, "--max-accuracy-drop", str(MARGIN), "--wait")
    variants = json.loads(commands.output(commands.stillroom("variants", MODEL, "--json"), environment))
    name, speedup = fastest(variants)
    stillroom("split", MODEL, f"{SOURCE_VARIANT}=50", f"{name}=50")
    stillroom("infer", MODEL, "--data", str(source / "eval.npz"), "--rows", "0:4")
    stillroom("infer", MODEL, "--data", str(source / "eval.npz"), "--rows", "0:4", "--version", name)
    ask = ["-m", "loadtests.demo.stock_client", server, MODEL, str(source / "eval.npz")]
    commands.show(["python", *ask])
    commands.run([sys.executable, *ask])
    stillroom("report", MODEL, "--out", str(report / "index.html"), "--plot", str(report / "pareto.svg"))
    load = ["-m", "loadtests", "run", "--model", MODEL, "--data", str(source / "eval.npz")]
    load += ["--duration", f"{LOAD_SECONDS}s", "--out", str(report)]
    commands.show(["python", *load])
    commands.run([sys.executable, *load], environment)
    return name, speedup


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the demo; exit code 0 only when all of it went well."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.demo", description=__doc__)
    parser.add_argument(
        "--home", type=Path, default=Path(".cache/demo/home"), help="emptied first (default: %(default)s)"
    )
    parser.add_argument("--cache", type=Path, default=Path(".cache/demo"), help="of the source (default: %(default)s)")
    parser.add_argument("--report", type=Path, default=Path("report"), help="pages go there (default: %(default)s)")
    given = parser.parse_args(arguments)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Into a pipe, too, our lines must stand in order with those of the commands that are run.
        sys.stdout.reconfigure(line_buffering=True)
    began = time.monotonic()
    try:
        source = train(given.cache)
        shutil.rmtree(given.home, ignore_errors=True)
        server, address = serve(given.home, given.cache / "serve.log")
        try:
            name, speedup = loop(address, source, given.report)
        except BaseException:
            server.terminate()
            server.wait()
            raise
        stop(server)
    except CommandFailed as error:
        print(f"demo failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print(f"\n{name} answers {speedup:.1f} times faster than the source,", end=" ")
    print(f"and the evaluation rows show that it is not worse by {100 * MARGIN:g} points.")
    print(f"Pages: {given.report / 'index.html'} (variants), {given.report / 'loadtest.html'} (under load)")
    print(f"The demo took {time.monotonic() - began:.0f} s.")
    if speedup < SPEEDUP_WANTED:
        print(f"demo failed: less than {SPEEDUP_WANTED:g} times faster", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
