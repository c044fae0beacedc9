"""Each error of the service has a gRPC status of its own, and both are written down."""

from collections import Counter
from pathlib import Path

import grpc
import pytest

from service import errors


def _below(root: type[errors.ServiceError]) -> list[type[errors.ServiceError]]:
    return [found for child in root.__subclasses__() for found in (child, *_below(child))]


@pytest.fixture(scope="module")
def classes() -> list[type[errors.ServiceError]]:
    return [cls for cls in _below(errors.ServiceError) if cls.__module__ == errors.__name__]


def test_no_two_kinds_share_a_status() -> None:
    kinds = [errors.ServiceError, *errors.ServiceError.__subclasses__()]
    statuses = Counter(cls.status for cls in kinds if cls.__module__ == errors.__name__)
    assert [status for status, count in statuses.items() if count > 1] == []


def test_the_tree_is_drawn(classes: list[type[errors.ServiceError]]) -> None:
    drawing = (errors.__doc__ or "").splitlines()
    for cls in classes:
        (line,) = [line for line in drawing if f"── {cls.__name__} " in f"{line} "]
        if "status" in vars(cls):
            assert cls.status.name in line


def test_the_protocol_page_explains_every_status(classes: list[type[errors.ServiceError]], root: Path) -> None:
    page = (root / "docs" / "protocol.md").read_text()
    statuses = {grpc.StatusCode.INTERNAL, *(cls.status for cls in classes)}
    assert [status.name for status in statuses if f"`{status.name}`" not in page] == []
