"""Nothing tracked names a developer's machine or a package registry's host."""

import re
from pathlib import Path

import pytest

# Written in pieces, so that this file does not hold what it looks for.
_HOSTS = (
    "py" + "pi.org",
    "python" + "hosted",
    "registry.npm" + "js",
    "deb.deb" + "ian",
    "download.py" + "torch",
    "proxy.go" + "lang",
)
# People of these names live in tests only.
_MACHINE_PATH = re.compile(
    r"(?<![\w.~-])/(?:wo" + r"rk|ro" + r"ot|ho" + r"me/(?!somebody|us\b|user\b)\w+|Us" + r"ers/\w+)/"
)


def _problems(text: str) -> list[str]:
    return [host for host in _HOSTS if host in text] + _MACHINE_PATH.findall(text)


def test_tracked_files_are_portable(tracked: list[Path], root: Path) -> None:
    found = {}
    for path in tracked:
        try:
            problems = _problems(path.read_text())
        except UnicodeDecodeError:
            continue  # A picture.
        if problems:
            found[str(path.relative_to(root))] = problems
    assert found == {}


@pytest.mark.parametrize(
    "text", ["see /wo" + "rk/main", "index-url = https://py" + "pi.org/simple", "'/ho" + "me/ann/x'"]
)
def test_the_rule_sees_them(text: str) -> None:
    assert _problems(text)


def test_the_rule_leaves_ordinary_paths_alone() -> None:
    assert _problems("stillroom-home/ and /var/lib/stillroom and https://example.org/work/done") == []
