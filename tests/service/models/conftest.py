"""Descriptions of variants whose model file is any file, and backends that are functions."""

from collections.abc import Callable
from pathlib import Path

import pytest

from optimizer.artifact import digest
from optimizer.artifact.session import SessionSpec
from optimizer.artifact.signature import Signature, TensorSpec
from service.models.servable import Description

SIGNATURE = Signature(
    inputs=(TensorSpec(name="x", datatype="FP32", shape=("batch", 2)),),
    outputs=(TensorSpec(name="y", datatype="FP32", shape=("batch", 2)),),
)


@pytest.fixture
def describe(tmp_path: Path) -> Callable[..., Description]:
    def make(variant: str, model: str = "mnist", source: bool = False, golden: Path | None = None) -> Description:
        path = tmp_path / f"{model}-{variant}.onnx"
        path.write_text(f"the model {model} {variant}")
        return Description(
            tenant="default",
            model=model,
            variant=variant,
            path=path,
            golden_path=golden,
            digest=digest.of_file(path),
            signature=SIGNATURE,
            session=SessionSpec(),
            source=source,
        )

    return make
