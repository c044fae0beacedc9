"""Content digests: sha256 of files, and of JSON values in one canonical form."""

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_SHA256 = re.compile(r"[0-9a-f]{64}")


def is_sha256(text: str) -> bool:
    """Whether `text` is a lower-case hexadecimal sha256."""
    return _SHA256.fullmatch(text) is not None


def of_bytes(data: bytes) -> str:
    """Hexadecimal sha256 of `data`."""
    return hashlib.sha256(data).hexdigest()


def of_file(path: Path) -> str:
    """Hexadecimal sha256 of a file's bytes, read in pieces."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def of_json(value: Any) -> str:
    """Hexadecimal sha256 of a JSON value: sorted keys, no blanks, NaN refused."""
    return of_bytes(json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode())


def of_tree(files: Mapping[str, str]) -> str:
    """Digest of a directory given as {relative path: sha256 of the file}."""
    return of_json(sorted(files.items()))
