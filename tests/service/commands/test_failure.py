import builtins
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from service.client import client as client_module
from service.commands.failure import BAD_USE, FAILED, exit_code, sentence
from service.errors import InvalidArgument, NotFound, ServiceError

Run = Callable[..., Result]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("split", "digits", "r1.fp32=60"), "sum to 60"),
        (("split", "digits", "r1.fp32"), "VARIANT=WEIGHT"),
        (("push", "digits", "/nowhere"), "does not exist"),
        (("push", "digits"), "Missing argument"),
        (("optimize", "digits", "--budget", "soon"), "not a duration"),
        (("optimize", "digits", "--max-accuracy-drop", "1"), "fraction"),
        (("optimize", "digits", "--max-accuracy-drop", "x"), "valid number"),
        (("variants", "digits", "--server", "http://here:1"), "host:port"),
        (("jobs", "digits", "--watch", "job1"), "only one"),
        (("nonsense",), "No such command"),
        (("serve", "--grpc-port", "70000"), "65535"),
        (("serve", "--transport", "pigeon"), "pigeon"),
    ],
)
def test_bad_use_exits_with_two_and_says_what_is_wrong(run: Run, arguments: tuple[str, ...], sentence: str) -> None:
    result = run(*arguments)
    assert result.exit_code == BAD_USE
    assert sentence in " ".join(result.stderr.replace("│", " ").split())
    assert result.stdout == ""


def test_auto_and_recipe_exclude_each_other(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"\xff\xfe")
    assert run("optimize", "digits", "--auto", "--recipe", tmp_path / "a.yaml").exit_code == BAD_USE
    assert "not a text file" in run("optimize", "digits", "--recipe", tmp_path / "a.yaml").stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("variants", "letters"),
        ("optimize", "letters"),
        ("split", "letters"),
        ("pull", "letters", "r1.fp32", "/tmp/never-made-by-this-test"),
        ("jobs", "--watch", "job9"),
        ("jobs", "--cancel", "job9"),
        ("report", "letters"),
    ],
)
def test_unknown_names_exit_with_one_in_the_servers_words(run: Run, arguments: tuple[str, ...]) -> None:
    for flags in ((), ("--json",)):
        result = run(*arguments, *flags)
        assert result.exit_code == FAILED
        assert result.stderr.startswith("error: there is no ")
        assert result.stdout == ""


def test_refusal_of_the_server_is_bad_use(run: Run, tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(b"\x80\x04N.")
    result = run("push", "digits", tmp_path / "net.onnx")
    assert result.exit_code == BAD_USE
    assert "error: net.onnx is a pickle" in result.stderr


def test_wrong_data_file_is_bad_use(run: Run, published: str, tmp_path: Path) -> None:
    (tmp_path / "rows.csv").write_text("1,2")
    result = run("infer", published, "--data", tmp_path / "rows.csv")
    assert result.exit_code == BAD_USE
    assert ".npz, .safetensors or .parquet" in result.stderr


def test_no_server_says_how_to_start_one(run: Run) -> None:
    result = run("variants", "digits", "--server", "127.0.0.1:1")
    assert result.exit_code == FAILED
    assert "127.0.0.1:1" in result.stderr
    assert "stillroom serve" in result.stderr
    assert "STILLROOM_SERVER" in result.stderr


def test_open_address_needs_insecure(run: Run, tmp_path: Path) -> None:
    result = run("serve", "--home", tmp_path, "--host", "0.0.0.0")
    assert result.exit_code == BAD_USE
    assert "--insecure" in result.stderr


def test_interrupted_wait_says_that_the_job_goes_on(run: Run, published: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(self: client_module.Client, job_id: str, after_sequence: int = 0) -> Any:
        raise KeyboardInterrupt
        yield

    monkeypatch.setattr(client_module.Client, "watch", interrupted)
    result = run("optimize", published, "--wait")
    assert result.exit_code == FAILED
    assert "job2 goes on" in result.stderr
    assert "stillroom jobs --watch job2 --server 127.0.0.1:" in result.stderr


def test_missing_extra_is_named(run: Run, published: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = builtins.__import__

    def without_matplotlib(name: str, *rest: Any, **options: Any) -> Any:
        if name.split(".")[0] == "matplotlib":
            raise ModuleNotFoundError("No module named 'matplotlib'", name="matplotlib")
        return original(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", without_matplotlib)
    result = run("report", published, "--out", tmp_path / "x.html")
    assert result.exit_code == FAILED
    assert "needs matplotlib" in result.stderr
    assert "stillroom[report]" in result.stderr


def test_system_errors_name_the_file(run: Run, published: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    result = run("report", published, "--out", tmp_path / "file" / "x.html")
    assert result.exit_code == FAILED
    assert str(tmp_path / "file") in result.stderr


def test_codes_and_sentences() -> None:
    assert exit_code(InvalidArgument("x")) == BAD_USE
    assert exit_code(NotFound("x")) == exit_code(ServiceError("x")) == exit_code(KeyboardInterrupt()) == FAILED
    assert sentence(KeyboardInterrupt()) == "interrupted"
    assert sentence(OSError("odd")) == "odd"


def test_help_imports_nothing_heavy() -> None:
    program = (
        "import sys, service.cli\n"
        "heavy = {'grpc', 'numpy', 'pydantic', 'onnxruntime', 'sqlalchemy', 'matplotlib', 'torch', 'rich'}\n"
        "sys.exit(', '.join(heavy & set(sys.modules)) or 0)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
