"""The child that looks at a stranger's files: a question as JSON on standard input, an answer on standard output.

It runs apart from the server, so that parsing a large file holds up nobody, and so that a hostile file can exhaust no
memory but this process's own. Executes nothing of what it reads.
"""

import resource
import sys

from optimizer.artifact import dataset
from optimizer.artifact.inspection import inspect_checkpoint
from optimizer.errors import InvalidInput
from service.uploads.inspection import Answer, Question


def answer(question: Question) -> Answer:
    """Looks at everything. Raises nothing that a file could be the reason of."""
    try:
        inspection = inspect_checkpoint(question.files)
        splits = {split: dataset.read(file.path, file.name) for split, file in question.dataset.items()}
        task = dataset.check(splits, inspection, question.task) if splits else ""
    except InvalidInput as error:
        return Answer(problem=str(error))
    except MemoryError:
        limit = question.memory_limit_bytes // 2**20
        return Answer(problem=f"the files need more than {limit} MiB of memory to be inspected; push smaller ones")
    return Answer(
        inspection=inspection.model_dump(mode="json"),
        task=task,
        rows={split: len(rows) for split, rows in splits.items()},
    )


def main() -> None:
    """Answers one question."""
    question = Question.model_validate_json(sys.stdin.read())
    resource.setrlimit(resource.RLIMIT_AS, (question.memory_limit_bytes, question.memory_limit_bytes))
    resource.setrlimit(resource.RLIMIT_CPU, (question.cpu_limit_seconds, question.cpu_limit_seconds))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Nothing is written but the answer, which goes through a pipe.
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    sys.stdout.write(answer(question).model_dump_json())


if __name__ == "__main__":
    main()
