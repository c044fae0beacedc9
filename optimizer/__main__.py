"""`python -m optimizer run SPEC`: runs one trial in a process of its own, telling of it in JSON lines.

Standard output carries events and nothing else: what libraries print goes to standard error. Exit status 0 follows
`finished`, 3 follows `failed`, 2 is bad use; any other means that the process broke down, with the reason on standard
error.
"""

import io
import logging
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from optimizer.errors import InvalidRecipe, OptimizerError
from optimizer.recipe.trial import Event, Failed, Finished, TrialSpec

_DONE, _BAD_USE, _FAILED = 0, 2, 3

# Read by libraries when they are imported: no downloads, no reports home, no advice.
_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    # Threads that wait for each other give their core up after some ten microseconds. By default they spin a hundred
    # times as long, which on cores shared with a server made training four times slower and gained nothing elsewhere.
    "GOMP_SPINCOUNT": "10000",
}


def main(arguments: Sequence[str]) -> int:
    """Runs the command line; returns the exit status."""
    if len(arguments) != 2 or arguments[0] != "run":
        print("usage: python -m optimizer run SPEC", file=sys.stderr)
        return _BAD_USE
    os.environ.update(_ENVIRONMENT)
    warnings.simplefilter("ignore")
    # Torch sets up loggers of its own when it is imported; this one switch holds for all of them.
    logging.disable(logging.WARNING)
    stream = _claim_stdout()
    return run(Path(arguments[1]), lambda event: _write(stream, event))


def run(path: Path, emit: Callable[[Event], None]) -> int:
    """Runs the trial that the file at `path` describes; returns the exit status."""
    # The rest of the program is imported only once the environment is set.
    from optimizer.pipeline import trial
    from optimizer.pipeline.fold import StepFailed

    try:
        spec = _read(path)
        if spec.study is not None:
            from optimizer.search import trial as study

            emit(study.run(spec, emit))
        else:
            emit(Finished(manifest=trial.run(spec, emit, now=lambda: datetime.now(UTC))))
    except StepFailed as failed:
        emit(Failed(kind=failed.cause.kind, message=str(failed.cause), step=failed.step))
        return _FAILED
    except OptimizerError as error:
        emit(Failed(kind=error.kind, message=str(error)))
        return _FAILED
    return _DONE


def _read(path: Path) -> TrialSpec:
    try:
        return TrialSpec.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InvalidRecipe(f"the trial cannot be read: {error.strerror}") from error
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, problem['loc'])) or 'trial'}: {problem['msg']}"
            for problem in error.errors(include_url=False, include_context=False, include_input=False)[:5]
        )
        raise InvalidRecipe(f"the trial is not valid: {problems}") from error


def _claim_stdout() -> io.TextIOBase:
    """The real standard output, for us alone; whatever else writes there now reaches standard error."""
    sys.stdout.flush()
    ours = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    return ours


def _write(stream: io.TextIOBase, event: Event) -> None:
    stream.write(event.model_dump_json() + "\n")
    stream.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
