import subprocess
import sys

import numpy as np
import pytest

from service.client import inference
from service.client.client import Client
from service.client.fake.server import FakeServer
from service.client.resources import VariantState, Verdict
from service.errors import InvalidArgument, NotFound, ServiceError


def test_status_says_who_answers(client: Client) -> None:
    status = client.status()
    assert (status.live, status.ready, status.name) == (True, True, "stillroom")


def test_variants_carry_their_figures(client: Client, published: str) -> None:
    source, accepted, rejected, undecided = client.variants(published)
    assert (source.parent, source.verdict, source.difference) == (None, Verdict.SOURCE, None)
    assert (accepted.parent, accepted.state, accepted.accepted) == (source.name, VariantState.READY, True)
    assert accepted.metric is not None
    assert accepted.metric.low < accepted.metric.value < accepted.metric.high
    assert [latency.batch for latency in accepted.latencies] == [1, 8, 32]
    one = accepted.latency(1)
    assert one is not None
    assert one.speedup is not None
    assert one.speedup.value == pytest.approx(4.0 / 1.1)
    assert accepted.latency(2) is None
    assert source.latencies[0].speedup is None
    assert (rejected.accepted, rejected.verdict) == (False, Verdict.REJECT)
    assert undecided.verdict is Verdict.INCONCLUSIVE


def test_words_of_a_newer_server_are_unspecified(server: FakeServer, client: Client, published: str) -> None:
    server.state.variants[published][0].verdict = 99  # type: ignore[assignment]
    assert client.variants(published)[0].verdict is Verdict.UNSPECIFIED


def test_split_is_applied_and_read_back(client: Client, published: str) -> None:
    assert [arm.variant for arm in client.traffic(published).arms] == ["r1.fp32"]
    traffic = client.split(published, {"r1.fp32": 50, "r1.pruned": 50})
    assert traffic.applied
    assert traffic.generation == 2
    assert traffic.warnings == ("r1.pruned was not accepted",)
    assert client.traffic(published).arms == traffic.arms
    assert client.variant(published, "r1.pruned").traffic == 0.5


def test_split_that_no_engine_applies_says_so(server: FakeServer, client: Client, published: str) -> None:
    server.state.engines_apply = False
    assert not client.split(published, {"r1.int8": 100}, wait_seconds=0.1).applied


def test_split_to_an_unknown_variant_is_not_found(client: Client, published: str) -> None:
    with pytest.raises(NotFound, match=r"r9\.int8"):
        client.split(published, {"r9.int8": 100})


def test_infer_sends_raw_tensors_and_says_who_answered(server: FakeServer, client: Client, published: str) -> None:
    rows = np.arange(8, dtype=np.float32).reshape(2, 4)
    answer = client.infer(published, {"x": rows}, version="r1.int8", key="user 7", request_id="a")
    np.testing.assert_array_equal(answer.outputs["logits"], rows * 2)
    assert (answer.version, answer.request_id, answer.datatypes) == ("r1.int8", "a", {"logits": "FP32"})
    assert answer.parameters == {"queue_us": 12}
    assert server.inference.requests[0].parameters[inference.ROUTING_KEY].string_param == "user 7"


def test_infer_passes_the_servers_refusal_on(client: Client, published: str) -> None:
    with pytest.raises(InvalidArgument, match="must be FP32"):
        client.infer(published, {"x": np.zeros((1, 3), np.float32)})
    with pytest.raises(NotFound, match="nobody"):
        client.infer("nobody", {"x": np.zeros((1, 4), np.float32)})


def test_signature_is_the_models(client: Client, published: str) -> None:
    signature = client.signature(published)
    assert [(spec.name, spec.datatype, spec.shape) for spec in signature.inputs] == [("x", "FP32", (-1, 4))]
    assert "r1.int8" in signature.versions


def test_answer_without_its_bytes_is_refused() -> None:
    response = inference.pb2.ModelInferResponse()
    response.outputs.add(name="y", datatype="FP32", shape=[1])
    with pytest.raises(ServiceError, match="announced 1 outputs"):
        inference.answer(response)


def test_client_is_a_leaf() -> None:
    program = (
        "import sys, service.client.client\n"
        "heavy = {'onnxruntime', 'onnx', 'sqlalchemy', 'torch', 'pydantic', 'typer', 'rich'} & set(sys.modules)\n"
        "sys.exit(', '.join(heavy) or 0)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
