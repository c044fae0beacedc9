"""The inspecting child: what it says, and what happens when it cannot."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from optimizer.errors import InvalidCheckpoint
from service.errors import DeadlineExceeded, InvalidArgument, ResourceExhausted, ServiceError
from service.uploads import inspection, inspector
from service.uploads.inspection import ChildInspector, Question


@pytest.fixture
def junk(tmp_path: Path) -> Path:
    path = tmp_path / "model.onnx"
    path.write_bytes(b"this is no ONNX file")
    return path


def test_a_real_child_refuses_junk_with_a_sentence(junk: Path) -> None:
    with pytest.raises(InvalidArgument, match="ONNX"):
        ChildInspector().inspect({"model.onnx": junk}, {}, "", 60)


def test_a_child_without_memory_is_an_answer_and_not_a_crash(junk: Path) -> None:
    with pytest.raises((InvalidArgument, ResourceExhausted, ServiceError)) as failure:
        ChildInspector(memory_limit_bytes=1 << 20).inspect({"model.onnx": junk}, {}, "", 60)
    assert str(junk.parent) not in str(failure.value)


@pytest.mark.parametrize(
    ("returncode", "error", "words"),
    [(-9, ResourceExhausted, "too much memory or time"), (1, ServiceError, "could not be inspected")],
)
def test_a_child_that_dies(
    junk: Path, monkeypatch: pytest.MonkeyPatch, returncode: int, error: type[Exception], words: str
) -> None:
    def run(*_: Any, **__: Any) -> subprocess.CompletedProcess[bytes]:
        return subprocess.CompletedProcess([], returncode, b"", b"Traceback: secret")

    monkeypatch.setattr(inspection.subprocess, "run", run)
    with pytest.raises(error, match=words) as failure:
        ChildInspector().inspect({"model.onnx": junk}, {}, "", 60)
    assert "secret" not in str(failure.value)


def test_a_child_that_takes_too_long(junk: Path) -> None:
    with pytest.raises(DeadlineExceeded, match="within 0 s"):
        ChildInspector().inspect({"model.onnx": junk}, {}, "", 0.01)


@pytest.mark.parametrize(
    ("error", "words"), [(InvalidCheckpoint("no weights"), "no weights"), (MemoryError(), "more than 64 MiB of memory")]
)
def test_the_answer_says_what_a_file_did(
    junk: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, words: str
) -> None:
    def refuse(_: object) -> None:
        raise error

    monkeypatch.setattr(inspector, "inspect_checkpoint", refuse)
    question = Question(files={"a": junk}, dataset={}, task="", memory_limit_bytes=64 << 20, cpu_limit_seconds=1)
    assert words in inspector.answer(question).problem
