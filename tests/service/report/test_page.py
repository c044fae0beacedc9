import dataclasses
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from service.client.resources import Variant, Verdict
from service.report.page import render, resolvable

_VOID = {"meta", "br", "rect", "circle", "path", "use"}


class Page(HTMLParser):
    """Collects text and addresses, and checks that elements are closed in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.texts: list[str] = []
        self.addresses: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "xlink:href")]
        if tag not in _VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        if tag not in _VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def parsed(html: str) -> Page:
    page = Page()
    page.feed(html)
    assert page.open == []
    return page


def test_page_tells_the_whole_story(variants: list[Variant], manifests: dict[str, dict[str, Any]]) -> None:
    page = parsed(render("digits", variants, manifests))
    for expected in (
        "r1.int8 answers 3.6 times faster than the source r1.fp32 at batch 1",
        "4, 2 of them may serve",
        "Smallest loss that these rows can show about 0.008",
        "Example CPU, 2 cores, onnxruntime 1.31.1, on cpu, 2 threads a call",
        "accuracy falls by 0.0310",
        "r1.half inconclusive 1000 evaluation rows cannot decide",
        "recipe int8, compared with r1.fp32",
        "opset 20",
        "seed 0",
    ):
        assert expected in page.text, expected
    for variant in variants:
        assert variant.digest in page.text


def test_page_is_complete_in_itself(variants: list[Variant], manifests: dict[str, dict[str, Any]]) -> None:
    html = render("digits", variants, manifests)
    page = parsed(html)
    assert all(address.startswith("#") for address in page.addresses)
    assert not {"script", "link", "img", "iframe"} & set(page.tags)
    assert not re.search(r"url\(\s*['\"]?(?!#)", html)
    assert "@import" not in html
    assert "prefers-color-scheme: dark" in html


def test_strangers_words_are_text(variants: list[Variant], manifests: dict[str, dict[str, Any]]) -> None:
    hostile = "<script>alert(1)</script>"
    changed = [dataclasses.replace(variant, reason=hostile, recipe=hostile) for variant in variants]
    notes = {"lineage": {"steps": [{"name": hostile, "notes": [hostile], "seconds": 1.0}]}}
    html = render(hostile, changed, dict.fromkeys(manifests, notes))
    assert "<script" not in html
    assert hostile in parsed(html).text


def test_page_without_manifests_without_acceptance_and_without_variants(variants: list[Variant]) -> None:
    refused = [
        variant if variant.parent is None else dataclasses.replace(variant, accepted=False, verdict=Verdict.REJECT)
        for variant in variants
    ]
    assert "No variant but the source was accepted" in parsed(render("digits", refused, {})).text
    unmeasured = [dataclasses.replace(variant, metric=None, latencies=(), difference=None) for variant in variants]
    assert "<figure>" not in render("digits", unmeasured, {})
    assert "Nothing has been published yet" in parsed(render("digits", [], {})).text
    assert "Only the source" in parsed(render("digits", variants[:1], {})).text


def test_resolvable_is_the_widest_half_interval(variants: list[Variant]) -> None:
    assert resolvable(variants) == pytest.approx(0.008)
    assert resolvable(variants[:1]) is None
