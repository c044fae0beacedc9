"""Every module says what it is, stays small and has a name of its own."""

import ast
from pathlib import Path

import pytest

LONGEST = 300
# Longer than that, and better so. Each entry says why.
ALLOWED_LONGER: dict[str, str] = {}
BROAD_EXCEPTS = 3
NAMELESS = {"utils", "util", "helpers", "helper", "common", "misc"}


def _relative(paths: list[Path], root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in paths)


def test_every_module_says_what_it_is(trees: dict[Path, ast.Module], root: Path) -> None:
    silent = [
        path
        for path, tree in trees.items()
        if path.name != "__init__.py" and not (ast.get_docstring(tree) or "").strip()
    ]
    assert _relative(silent, root) == []


def test_files_stay_small(sources: dict[Path, str], root: Path) -> None:
    lengths = {str(path.relative_to(root)): text.count("\n") for path, text in sources.items()}
    too_long = {name: lines for name, lines in lengths.items() if lines > LONGEST and name not in ALLOWED_LONGER}
    assert too_long == {}
    stale = [name for name in ALLOWED_LONGER if lengths.get(name, 0) <= LONGEST]
    assert stale == [], "these exceptions are not needed any more"


def test_everything_has_a_name_of_its_own(tracked: list[Path], root: Path) -> None:
    nameless = [
        path for path in tracked if NAMELESS.intersection(part.split(".")[0] for part in path.relative_to(root).parts)
    ]
    assert _relative(nameless, root) == []


def test_packages_open_empty(trees: dict[Path, ast.Module], root: Path) -> None:
    """An `__init__.py` holds a docstring at most: importing a package runs nothing and re-exports nothing."""
    full = [
        path
        for path, tree in trees.items()
        if path.name == "__init__.py" and [node for node in tree.body if not _is_docstring(node)]
    ]
    assert _relative(full, root) == []


def test_tests_are_no_packages(root: Path) -> None:
    assert _relative(list((root / "tests").rglob("__init__.py")), root) == []


def test_broad_excepts_are_rare(trees: dict[Path, ast.Module], root: Path) -> None:
    """Only the transport's intake, the batcher's loop and the job loop may catch whatever comes and go on."""
    found = [
        f"{path.relative_to(root)}:{node.lineno}"
        for path, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ExceptHandler) and _is_broad(node)
    ]
    assert len(found) <= BROAD_EXCEPTS, found


@pytest.mark.parametrize(
    ("code", "broad"),
    [
        ("except Exception: pass", True),
        ("except (ValueError, BaseException): pass", True),
        ("except: pass", True),
        ("except BaseException:\n  clean()\n  raise", False),
        ("except ValueError: pass", False),
    ],
)
def test_the_rule_on_broad_excepts_sees_them(code: str, broad: bool) -> None:
    handler = ast.parse(f"try: pass\n{code}").body[0].handlers[0]  # type: ignore[attr-defined]
    assert _is_broad(handler) is broad


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _is_broad(handler: ast.ExceptHandler) -> bool:
    """Whether the handler takes any exception and does not raise it again at its end."""
    caught = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    names = {node.id for node in caught if isinstance(node, ast.Name)}
    last = handler.body[-1]
    reraises = isinstance(last, ast.Raise) and last.exc is None
    return (handler.type is None or bool(names & {"Exception", "BaseException"})) and not reraises
