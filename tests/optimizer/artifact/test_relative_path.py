"""A file's name inside a checkpoint never leads out of its directory."""

from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.artifact.relative_path import check_distinct, check_relative_path
from optimizer.errors import InvalidInput


@pytest.mark.parametrize("path", ["model.onnx", "onnx/model.onnx", "a b/c-d_e.f", "größe/重み.bin", "0"])
def test_ordinary_names_are_allowed(path: str) -> None:
    assert check_relative_path(path) == path


REFUSED = ["", "/etc/passwd", "../x", "a/../x", "a/..", ".", "./a", "a//b", "a/", ".hidden", "a/.git/b", "a\\b", "C:/x"]
STRANGE = ["a\x00b", "a\nb", " a", "a ", "a.", "x" * 256, "a/" * 300 + "b", "\ud800", "a?b"]


@pytest.mark.parametrize("path", [*REFUSED, *STRANGE])
def test_what_leaves_the_directory_or_breaks_tools_is_refused(path: str) -> None:
    with pytest.raises(InvalidInput, match="allowed is a relative path"):
        check_relative_path(path)


@given(st.text(alphabet="./ab\\\x00:", max_size=12))
def test_an_allowed_name_stays_below_any_directory(path: str) -> None:
    try:
        check_relative_path(path)
    except InvalidInput:
        return
    base = Path("/base")
    resolved = (base / path).resolve()
    assert resolved.is_relative_to(base)
    assert resolved != base
    assert str(PurePosixPath(path)) == path


@pytest.mark.parametrize("paths", [["a", "b/c", "a"], ["a", "a/b"], ["x/y/z", "x/y"]])
def test_names_that_cannot_exist_together_are_refused(paths: list[str]) -> None:
    with pytest.raises(InvalidInput):
        check_distinct(paths)


def test_names_that_share_a_beginning_are_fine() -> None:
    check_distinct(["a/b", "a/c", "ab", "a.b"])
