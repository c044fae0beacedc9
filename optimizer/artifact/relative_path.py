"""Names of files inside a checkpoint or a variant: strictly relative, the same on every system."""

import re

from optimizer.errors import InvalidInput

# Letters of any script are welcome; what shells, terminals and other systems stumble over is not.
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f\\:*?\"<>|]")

LONGEST_BYTES = 512
LONGEST_PART_BYTES = 255


def check_relative_path(path: str) -> str:
    """Gives `path` back when it names a file below a directory, wherever that directory lies.

    Raises InvalidInput for an absolute or hidden path, "..", an empty part, control and reserved characters, and for
    more than 512 bytes (255 in one part).
    """
    problem = _problem(path)
    if problem:
        raise InvalidInput(
            f"the file name {path[:80]!r} {problem}; allowed is a relative path with forward slashes, "
            'without hidden files and without ".."'
        )
    return path


def check_distinct(paths: list[str]) -> None:
    """Raises InvalidInput when a path is invalid, repeats, or is both a file and another one's directory."""
    seen: set[str] = set()
    for path in paths:
        if check_relative_path(path) in seen:
            raise InvalidInput(f"the file name {path!r} is given twice")
        seen.add(path)
    for path in paths:
        parts = path.split("/")
        for length in range(1, len(parts)):
            parent = "/".join(parts[:length])
            if parent in seen:
                raise InvalidInput(f"{parent!r} cannot be a file and the directory of {path!r} at once")


def _problem(path: str) -> str | None:
    if not path:
        return "is empty"
    try:
        encoded = path.encode()
    except UnicodeEncodeError:
        return "is not valid Unicode"
    if len(encoded) > LONGEST_BYTES:
        return f"is longer than {LONGEST_BYTES} bytes"
    if path.startswith("/"):
        return "is absolute"
    if _FORBIDDEN.search(path):
        return "has a forbidden character"
    for part in path.split("/"):
        if not part:
            return "has an empty part"
        if part.startswith("."):
            return "has a hidden part or one that leaves the directory"
        if len(part.encode()) > LONGEST_PART_BYTES:
            return f"has a part longer than {LONGEST_PART_BYTES} bytes"
        if part != part.strip() or part.endswith("."):
            return "has a part with blanks around it or a dot at its end"
    return None
