"""Variants and manifests as a server gives them."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.client.client import Client
from service.client.fake.server import FakeServer
from service.client.resources import Variant


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[list[Variant], dict[str, dict[str, Any]]]]:
    path: Path = tmp_path_factory.mktemp("checkpoint") / "net.onnx"
    path.write_bytes(b"onnx")
    with FakeServer() as server, Client(server.address) as client:
        client.push("digits", path)
        client.optimize("digits")
        variants = client.variants("digits")
        yield variants, {variant.name: client.manifest("digits", variant.name) for variant in variants}


@pytest.fixture
def variants(published: tuple[list[Variant], dict[str, dict[str, Any]]]) -> list[Variant]:
    return published[0]


@pytest.fixture
def manifests(published: tuple[list[Variant], dict[str, dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    return published[1]
