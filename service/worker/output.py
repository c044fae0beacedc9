"""Reads what a hostile process writes: lines of bounded length, a bounded total, a short tail, harmless text."""

import re
from collections.abc import Iterator

# A manifest, which travels in one line, names every class of its model.
MAX_LINE_BYTES = 4 * 2**20
MAX_TOTAL_BYTES = 64 * 2**20
TAIL_BYTES = 8192

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]+")
_PATH = re.compile(r"(?<![\w.])/(?:[^\s'\":,()<>|]+)")


class Flooded(Exception):
    """More came than any honest process writes."""


class Lines:
    """Cuts a stream of bytes into lines; over-long ones are left out."""

    def __init__(self, max_line_bytes: int = MAX_LINE_BYTES, max_total_bytes: int = MAX_TOTAL_BYTES) -> None:
        self._max_line_bytes = max_line_bytes
        self._left_bytes = max_total_bytes
        self._pieces: list[bytes] = []
        self._length = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The lines that `data` completes, without their ends. Raises Flooded above the total."""
        self._left_bytes -= len(data)
        if self._left_bytes < 0:
            raise Flooded
        *complete, rest = data.split(b"\n")
        for piece in complete:
            self._add(piece)
            if self._length <= self._max_line_bytes:
                yield b"".join(self._pieces)
            self._pieces, self._length = [], 0
        self._add(rest)

    def _add(self, piece: bytes) -> None:
        self._length += len(piece)
        # What is known to be too long is counted, but not kept.
        self._pieces = [*self._pieces, piece] if self._length <= self._max_line_bytes else []


class Tail:
    """The last bytes of a stream."""

    def __init__(self, size_bytes: int = TAIL_BYTES) -> None:
        self._size_bytes = size_bytes
        self._data = b""

    def feed(self, data: bytes) -> None:
        """Keeps the end of what has come so far."""
        self._data = (self._data + data)[-self._size_bytes :]

    @property
    def text(self) -> str:
        """The tail, undecodable bytes replaced."""
        return self._data.decode(errors="replace")

    @property
    def last_line(self) -> str:
        """The last line that is not blank."""
        return next((line.strip() for line in reversed(self.text.splitlines()) if line.strip()), "")


def plain(text: str, limit: int = 1000) -> str:
    """`text` on one line, without control and invisible characters, cut at `limit` characters."""
    flat = _CONTROL.sub(" ", text).strip()
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


def without_paths(text: str) -> str:
    """`text` with absolute paths left out: they say how this host is laid out."""
    return _PATH.sub("<path>", text)
