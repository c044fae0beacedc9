"""A model has one signature, and every revision must answer to it."""

from typing import Any

import pytest

from service.api.revision import misfit

SIGNATURE: dict[str, Any] = {
    "inputs": [{"name": "x", "datatype": "FP32", "shape": ["batch", 4]}],
    "outputs": [{"name": "y", "datatype": "FP32", "shape": ["batch", 3]}],
}


def inspected(classes: int | None = 3, **inputs: dict[str, Any]) -> dict[str, Any]:
    return {"classes": classes, "inputs": inputs or {"x": {"datatype": "FP32", "required": True}}}


def test_before_the_first_variant_anything_fits() -> None:
    assert misfit(None, inspected(classes=9)) is None


@pytest.mark.parametrize(
    "inspection",
    [
        inspected(),
        inspected(classes=None),
        inspected(x={"datatype": "FP32"}, mask={"datatype": "INT64", "required": False}),
    ],
)
def test_what_fits(inspection: dict[str, Any]) -> None:
    assert misfit(SIGNATURE, inspection) is None


@pytest.mark.parametrize(
    ("inspection", "words"),
    [
        (inspected(z={"datatype": "FP32"}), "'x' is not an input of this checkpoint, which takes z"),
        (inspected(x={"datatype": "FP32"}, z={"datatype": "FP32", "required": True}), "also needs an input 'z'"),
        (inspected(x={"datatype": "INT64"}), "'x' is INT64 here, but FP32 in the model"),
        (inspected(classes=10), "has 10 classes, but the model has 3"),
    ],
)
def test_what_does_not_fit_says_why(inspection: dict[str, Any], words: str) -> None:
    assert words in (misfit(SIGNATURE, inspection) or "")
