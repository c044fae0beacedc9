"""Whatever a hostile process writes, what we keep is bounded and harmless."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.worker.output import Flooded, Lines, Tail, plain, without_paths


def cut(data: bytes, sizes: list[int]) -> list[bytes]:
    """`data` in pieces."""
    pieces = []
    for size in sizes:
        pieces.append(data[:size])
        data = data[size:]
    return [*pieces, data]


@given(st.lists(st.binary(max_size=30).filter(lambda line: b"\n" not in line)), st.lists(st.integers(0, 20)))
def test_lines_come_whole_however_the_stream_is_cut(lines: list[bytes], sizes: list[int]) -> None:
    data = b"".join(line + b"\n" for line in lines) + b"unfinished"
    reader = Lines()
    assert [line for piece in cut(data, sizes) for line in reader.feed(piece)] == lines


@given(st.lists(st.binary(max_size=30).filter(lambda line: b"\n" not in line)), st.lists(st.integers(0, 20)))
def test_over_long_lines_are_left_out_and_the_next_is_read(lines: list[bytes], sizes: list[int]) -> None:
    data = b"".join(line + b"\n" for line in lines)
    reader = Lines(max_line_bytes=10)
    found = [line for piece in cut(data, sizes) for line in reader.feed(piece)]
    assert found == [line for line in lines if len(line) <= 10]


def test_an_endless_line_is_not_kept() -> None:
    reader = Lines(max_line_bytes=100)
    for _ in range(1000):
        assert list(reader.feed(b"x" * 100)) == []
    assert sum(len(piece) for piece in reader._pieces) <= 100
    assert list(reader.feed(b"\nnext\n")) == [b"next"]


def test_a_flood_is_noticed() -> None:
    reader = Lines(max_total_bytes=100)
    assert list(reader.feed(b"x" * 99 + b"\n")) == [b"x" * 99]
    with pytest.raises(Flooded):
        list(reader.feed(b"x"))


@given(st.lists(st.binary(max_size=50)))
def test_the_tail_is_the_end(pieces: list[bytes]) -> None:
    tail = Tail(20)
    for piece in pieces:
        tail.feed(piece)
    assert tail.text == b"".join(pieces)[-20:].decode(errors="replace")


def test_the_last_line_is_the_last_that_says_something() -> None:
    tail = Tail()
    assert tail.last_line == ""
    tail.feed(b"Traceback\nValueError: no\n\n  \n")
    assert tail.last_line == "ValueError: no"


@given(st.text(max_size=300), st.integers(1, 200))
def test_plain_text_is_one_short_visible_line(text: str, limit: int) -> None:
    found = plain(text, limit)
    assert len(found) <= limit
    assert len(found.splitlines()) <= 1
    assert not any(ord(character) < 32 or 0x7F <= ord(character) < 0xA0 for character in found)
    assert not set(found) & set("\u200b\u202e\u2028\ufeff")


def test_ordinary_text_is_left_alone() -> None:
    text = "in step export: 3/4 of layer 'a/b' needs 10 % — naïve"
    assert without_paths(plain(text)) == text


def test_paths_of_this_host_are_left_out() -> None:
    text = "PermissionError: [Errno 13] Permission denied: '/srv/models/x.onnx' -> /var/lib/y, (/a)"
    assert without_paths(text) == "PermissionError: [Errno 13] Permission denied: '<path>' -> <path>, (<path>)"
