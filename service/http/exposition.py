"""Prometheus texts of several processes become one valid exposition: a pure function."""

import re
from collections.abc import Iterable

_META = re.compile(r"# (HELP|TYPE) (\S+) ?(.*)")
# A histogram's or summary's samples carry these after the family's name, a counter's may.
_SUFFIXES = ("_bucket", "_sum", "_count", "_total", "_created", "_info")


class _Family:
    def __init__(self) -> None:
        self.help = ""
        self.type = ""
        self.samples: list[str] = []


def merge(texts: Iterable[tuple[str, str]]) -> str:
    """One text out of (label, text) pairs, each family named and typed once, its samples together.

    A label ('engine="1"'), unless empty, is added to every sample of its text, so that samples of several processes
    stay apart. Where two texts disagree on a family's type, the first is believed, the other's samples are left out.
    """
    families: dict[str, _Family] = {}
    for label, text in texts:
        types: dict[str, str] = {}
        for line in text.splitlines():
            meta = _META.fullmatch(line)
            if meta is not None:
                kind, name, rest = meta.groups()
                family = families.setdefault(name, _Family())
                if kind == "HELP":
                    family.help = family.help or rest
                else:
                    types[name] = rest
                    family.type = family.type or rest
            elif line and not line.startswith("#"):
                name = _family_of(line, types)
                family = families.setdefault(name, _Family())
                if types.get(name, "") in ("", family.type):
                    family.samples.append(_labelled(line, label))
    return "".join(_render(name, family) for name, family in families.items() if family.samples)


def _family_of(sample: str, types: dict[str, str]) -> str:
    name = re.split(r"[{ ]", sample, maxsplit=1)[0]
    if name in types:
        return name
    for suffix in _SUFFIXES:
        if name.endswith(suffix) and name.removesuffix(suffix) in types:
            return name.removesuffix(suffix)
    return name


def _labelled(sample: str, label: str) -> str:
    if not label:
        return sample
    name, brace, rest = sample.partition("{")
    if brace and " " not in name:
        return f"{name}{{{label}{rest if rest.startswith('}') else ',' + rest}"
    name, _, value = sample.partition(" ")
    return f"{name}{{{label}}} {value}"


def _render(name: str, family: _Family) -> str:
    lines = []
    if family.help:
        lines.append(f"# HELP {name} {family.help}")
    if family.type:
        lines.append(f"# TYPE {name} {family.type}")
    return "\n".join([*lines, *family.samples]) + "\n"
