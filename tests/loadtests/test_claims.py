from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from loadtests.claims import gather, load_data
from service.client.client import Client
from service.errors import FailedPrecondition, InvalidArgument, NotFound


def test_claims_are_what_manifests_and_records_say(serve: Callable[..., Any], arm: Callable[..., Any]) -> None:
    server = serve(
        {
            "r1.fp32": arm(75, every=20),
            "r1.int8": arm(25, every=10, parent="r1.fp32"),
            "r1.idle": arm(0, every=2, parent="r1.fp32"),
        }
    )
    with Client(server.address) as client:
        data = load_data(client, "digits", server.data)
        found = gather(client, "digits", data)
    fp32, int8 = found.claims
    assert (fp32.variant, fp32.weight, int8.variant, int8.weight) == ("r1.fp32", 0.75, "r1.int8", 0.25)
    assert (fp32.metric.value, int8.metric.value) == (0.95, 0.9)
    assert fp32.measured_p50_ms == 2.5
    assert found.generation == 3
    assert found.output == "logits"
    assert np.array_equal(found.rows, np.arange(400))
    assert np.array_equal(found.truth, data.labels)
    # Recorded in another order; a claim has them by row.
    assert np.array_equal(fp32.prediction, server.arms["r1.fp32"].recorded)


def test_without_labels_the_sources_answers_are_the_truth(serve: Callable[..., Any], arm: Callable[..., Any]) -> None:
    """Also when the source itself takes no traffic."""
    arms = {"r1.fp32": arm(0, every=7), "r1.int8": arm(100, every=9, parent="r1.fp32")}
    server = serve(arms, task="agreement", split="all")
    with Client(server.address) as client:
        found = gather(client, "digits", load_data(client, "digits", server.data))
    assert [claim.variant for claim in found.claims] == ["r1.int8"]
    assert np.array_equal(found.truth, arms["r1.fp32"].recorded)


@pytest.mark.parametrize(("split", "option"), [("eval", "--data eval=FILE"), ("all", "--data FILE")])
def test_other_data_is_refused(
    serve: Callable[..., Any], arm: Callable[..., Any], tmp_path: Path, split: str, option: str
) -> None:
    server = serve({"r1.fp32": arm(100)}, split=split)
    other = tmp_path / "eval.npz"
    other.write_bytes(server.data.read_bytes() + b" ")
    with Client(server.address) as client:
        with pytest.raises(InvalidArgument, match=f"is not the data that model 'digits' .* `{option}`"):
            load_data(client, "digits", other)
        with pytest.raises(InvalidArgument, match=r"absent\.npz cannot be read: No such file"):
            load_data(client, "digits", tmp_path / "absent.npz")
        with pytest.raises(NotFound):
            load_data(client, "cats", server.data)


def test_what_cannot_be_tested_is_said(serve: Callable[..., Any], arm: Callable[..., Any]) -> None:
    server = serve({"r1.fp32": arm(100)})
    with Client(server.address) as client:
        data = load_data(client, "digits", server.data)
        with pytest.raises(FailedPrecondition, match="share no evaluation rows"):
            gather(client, "digits", data.take(np.arange(10)))
        (variant,) = server.state.variants["digits"]
        variant.files.pop()
        with pytest.raises(FailedPrecondition, match=r"r1\.fp32 was not measured"):
            gather(client, "digits", data)
        server.state.traffic["digits"].ClearField("arms")
        with pytest.raises(FailedPrecondition, match="no variant of model 'digits' takes traffic"):
            gather(client, "digits", data)
        server.state.models["digits"].ClearField("dataset")
        with pytest.raises(FailedPrecondition, match="has no data set"):
            load_data(client, "digits", server.data)
