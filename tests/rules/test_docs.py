"""The pages keep up with the code: links lead somewhere, commands, options and metrics are all there."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from typer.main import get_command

from optimizer.recipe import reference
from service.cli import app

_LINK = re.compile(r"\]\(([^)#\s]+)(?:#([^)\s]*))?\)")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_METRIC_TYPES = {"Counter", "Gauge", "Histogram", "Summary", "Info", "Enum"}


@pytest.fixture(scope="module")
def pages(tracked: list[Path]) -> list[Path]:
    return [path for path in tracked if path.suffix == ".md"]


def _headings(page: Path) -> set[str]:
    """Anchors, as the usual renderers of Markdown name headings."""
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in _HEADING.findall(page.read_text())}


def test_every_link_leads_somewhere(pages: list[Path], root: Path) -> None:
    broken = []
    for page in pages:
        for target, anchor in _LINK.findall(_FENCE.sub("", page.read_text())):
            if "://" in target:
                continue
            found = page.parent / target
            headings = _headings(found) if found.is_file() and found.suffix == ".md" else set()
            if not found.exists() or (anchor and anchor not in headings):
                broken.append(f"{page.relative_to(root)}: {target}#{anchor}")
    assert broken == []


def test_every_path_in_backticks_exists(pages: list[Path], root: Path) -> None:
    """`service/engine.py` on a page is a promise."""
    folders = "|".join(sorted(path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith(".")))
    pattern = re.compile(rf"`((?:{folders})/[\w./-]+)`")
    missing = [
        f"{page.relative_to(root)}: {name}"
        for page in pages
        for name in pattern.findall(page.read_text())
        if not (root / name).exists() and not name.startswith("report/")
    ]
    assert missing == []


def test_the_page_of_passes_is_what_the_configs_say(root: Path) -> None:
    assert (root / "docs" / "passes.md").read_text() == reference.page(), "run `make docs`"


def test_decisions_are_numbered_and_dated(root: Path) -> None:
    pages = sorted((root / "docs" / "decisions").glob("*.md"))
    assert [page.name[:4] for page in pages] == [f"{number:04}" for number in range(1, len(pages) + 1)]
    for page in pages:
        text = page.read_text()
        assert text.startswith(f"# {page.name[:4]}: ")
        assert re.search(r"^\d{4}-\d\d-\d\d\. (Accepted|Superseded by \d{4})\.$", text, re.MULTILINE)


def _commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    if isinstance(command, click.Group):
        for name, child in command.commands.items():
            yield from _commands(child, (*path, name))
    else:
        yield path, command


def test_every_command_and_option_is_documented(root: Path) -> None:
    page = (root / "docs" / "cli.md").read_text()
    missing = []
    for path, command in _commands(get_command(app)):
        name = " ".join(("stillroom", *path))
        if name not in page:
            missing.append(name)
        options = [o for p in command.params if isinstance(p, click.Option) and not p.hidden for o in p.opts]
        missing += [f"{name} {option}" for option in options if f"`{option}" not in page and option != "--help"]
    assert missing == []


def _metrics(trees: dict[Path, ast.Module]) -> set[str]:
    """First argument of every call that makes a metric."""
    return {
        call.args[0].value
        for tree in trees.values()
        for call in ast.walk(tree)
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Name)
        and (call.func.id in _METRIC_TYPES or call.func.id.endswith("MetricFamily"))
        and call.args
        and isinstance(call.args[0], ast.Constant)
        and isinstance(call.args[0].value, str)
    }


def test_every_metric_is_documented(trees: dict[Path, ast.Module], root: Path) -> None:
    metrics = _metrics(trees)
    assert len(metrics) >= 8
    assert sorted(name for name in metrics if not name.startswith("stillroom_")) == []
    documented = set(re.findall(r"`(stillroom_\w+)`", (root / "docs" / "metrics.md").read_text()))
    assert sorted(name for name in metrics if not {name, f"{name}_total", f"{name}_info"} & documented) == []
