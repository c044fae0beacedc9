"""The engine's graph on a fake front and fake backends: roster, intake, catalogue, metrics, without a process."""

import itertools
import threading

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.errors import InvalidArgument
from service.inference.catalogue import EXTENSIONS
from service.inference.intake import MODEL_INFER, STOPPING
from service.transport.fake import FakeCall
from service.wire.open_inference import grpc_service_pb2 as wire
from service.wire.stillroom.internal.v1 import engine_service_pb2 as control


def test_a_source_answers_as_soon_as_it_is_ready(graph, ask) -> None:
    assert graph.ask(ask()).wait().status is grpc.StatusCode.NOT_FOUND
    assert graph.apply(graph.held("aa", source=True), graph.held("bbb"))
    graph.wait_states(aa="READY", bbb="READY")
    response = graph.infer(ask(5.0, request_id="me"))
    assert (response.model_name, response.model_version, response.id) == ("m", "aa", "me")
    assert np.frombuffer(response.raw_output_contents[0], np.float32).tolist() == [10.0, 10.0]
    assert graph.infer(ask(version="bbb")).model_version == "bbb"


def test_a_split_is_applied_and_acknowledged_when_its_arms_are_ready(graph, ask) -> None:
    graph.apply(graph.held("aa", source=True))
    graph.wait_states(aa="READY")
    split = graph.table(3, aa=5000, bbb=5000)
    graph.apply(graph.held("aa", source=True), traffic=[split])
    assert not graph.roster.state().applied
    assert graph.infer(ask()).model_version == "aa"
    graph.apply(graph.held("aa", source=True), graph.held("bbb"), traffic=[split])
    graph.wait(lambda: [applied.generation for applied in graph.roster.state().applied] == [3])
    answered = [graph.infer(ask()).model_version for _ in range(100)]
    assert 46 <= answered.count("aa") <= 54
    assert len({graph.infer(ask(routing_key="ada")).model_version for _ in range(10)}) == 1


def test_an_older_state_changes_nothing(graph) -> None:
    graph.apply(graph.held("aa", source=True))
    graph.wait_states(aa="READY")
    assert not graph.roster.apply(control.DesiredState(version=graph.version))
    assert graph.roster.state().desired_version == graph.version
    assert [servable.variant for servable in graph.roster.state().servables] == ["aa"]


@pytest.mark.parametrize("arms", [{"aa": 9000}, {"aa": 11_000, "bbb": -1000}, {}])
def test_a_table_that_does_not_sum_is_refused_whole(graph, arms) -> None:
    with pytest.raises(InvalidArgument, match="10000"):
        graph.apply(graph.held("aa"), traffic=[graph.table(1, **arms)])
    assert not graph.roster.state().servables


def test_a_variant_with_traffic_outlives_control_forgetting_it(graph, ask) -> None:
    graph.apply(graph.held("aa", source=True), graph.held("bbb"), traffic=[graph.table(1, bbb=10_000)])
    graph.wait_states(aa="READY", bbb="READY")
    graph.apply(graph.held("aa", source=True), traffic=[graph.table(2, cc=10_000)])
    assert graph.infer(ask()).model_version == "bbb"
    graph.apply(graph.held("aa", source=True), traffic=[graph.table(3, aa=10_000)])
    graph.wait_states(aa="READY")
    assert graph.infer(ask()).model_version == "aa"


def test_a_variant_that_fails_to_load_says_why_and_harms_nobody(graph, ask) -> None:
    broken, forged = graph.held("bbb"), graph.held("cccc")
    graph.broken = {"bbb"}
    forged.digest = "00" * 32
    split = graph.table(1, aa=5000, cccc=5000)
    graph.apply(graph.held("aa", source=True), broken, forged, traffic=[split])
    graph.wait_states(aa="READY", bbb="READY", cccc="FAILED")
    call = graph.ask(ask(version="cccc")).wait()
    assert (call.status, "not at ready state" in call.message) == (grpc.StatusCode.UNAVAILABLE, True)
    index = graph.rpc("RepositoryIndex", wire.RepositoryIndexRequest(), wire.RepositoryIndexResponse)
    assert {each.version: (each.state, "sha256" in each.reason) for each in index.models} == {
        "aa": ("READY", False), "bbb": ("READY", False), "cccc": ("UNAVAILABLE", True),
    }  # fmt: skip
    # It has no row for each row: its fault, told to those who ask it and to nobody else.
    assert graph.ask(ask(version="bbb")).wait().status is grpc.StatusCode.INTERNAL
    # The split cannot be applied; the source answers, and control is not told otherwise.
    assert graph.infer(ask()).model_version == "aa"
    assert not graph.roster.state().applied


def test_a_full_queue_refuses_at_the_door(graph, ask) -> None:
    graph.apply(graph.held("aa", source=True))
    graph.wait_states(aa="READY")
    while graph.running.acquire(blocking=False):
        pass
    graph.gate.clear()
    first = graph.ask(ask())
    assert graph.running.acquire(timeout=10)
    calls = [graph.ask(ask()) for _ in range(6)]
    refused = [call.wait() for call in calls[4:]]
    assert {(call.status, call.message) for call in refused} == {
        (grpc.StatusCode.UNAVAILABLE, "Exceeds maximum queue size")
    }
    graph.gate.set()
    assert {call.wait().status for call in (first, *calls[:4])} == {grpc.StatusCode.OK}


def test_a_request_that_waits_too_long_or_is_given_up_is_not_run(graph, ask) -> None:
    graph.apply(graph.held("aa", source=True))
    graph.wait_states(aa="READY")
    while graph.running.acquire(blocking=False):
        pass
    graph.gate.clear()
    first = graph.ask(ask())
    assert graph.running.acquire(timeout=10)
    impatient, gone, late = graph.ask(ask(timeout=1)), graph.ask(ask()), graph.ask(ask(), timeout_seconds=0.0)
    gone.cancel()
    graph.gate.set()
    assert (impatient.wait().status, impatient.message) == (
        grpc.StatusCode.UNAVAILABLE, "Request timeout expired"
    )  # fmt: skip
    assert late.wait().status is grpc.StatusCode.DEADLINE_EXCEEDED
    assert first.wait().status is grpc.StatusCode.OK
    graph.infer(ask())
    text = graph.scrape()
    for code in ("CANCELLED", "DEADLINE_EXCEEDED", "UNAVAILABLE"):
        assert f'stillroom_requests_total{{code="{code}",model="m",variant="aa"}} 1.0' in text
    assert 'stillroom_requests_total{code="OK",model="m",variant="aa"} 2.0' in text


def test_a_stopping_intake_refuses(graph, ask) -> None:
    graph.apply(graph.held("aa", source=True))
    graph.wait_states(aa="READY")
    graph.intake.refuse()
    call = graph.ask(ask()).wait()
    assert (call.status, call.message) == (grpc.StatusCode.UNAVAILABLE, STOPPING)


def test_a_name_from_outside_makes_no_label(graph, ask) -> None:
    graph.ask(ask(model="stranger")).wait()
    text = graph.scrape()
    assert "stranger" not in text
    assert 'stillroom_requests_total{code="NOT_FOUND",model="",variant=""} 1.0' in text
    assert 'stillroom_build_info{version="1.2.3"} 1.0' in text


def test_the_catalogue_describes_what_is_served(graph, ask) -> None:
    graph.apply(graph.held("aa", source=True), graph.held("bbb"))
    graph.wait_states(aa="READY", bbb="READY")
    for _ in range(3):
        graph.infer(ask(rows=2))
    metadata = graph.rpc("ServerMetadata", wire.ServerMetadataRequest(), wire.ServerMetadataResponse)
    assert (metadata.name, metadata.version, tuple(metadata.extensions)) == ("stillroom", "1.2.3", EXTENSIONS)
    assert graph.rpc("ServerLive", wire.ServerLiveRequest(), wire.ServerLiveResponse).live
    assert graph.rpc("ServerReady", wire.ServerReadyRequest(), wire.ServerReadyResponse).ready
    model = graph.rpc("ModelMetadata", wire.ModelMetadataRequest(name="m"), wire.ModelMetadataResponse)
    assert (list(model.versions), list(model.inputs[0].shape)) == (["aa", "bbb"], [-1, 2])
    config = graph.rpc("ModelConfig", wire.ModelConfigRequest(name="m"), wire.ModelConfigResponse).config
    assert (config.max_batch_size, list(config.input[0].dims), config.WhichOneof("scheduling_choice")) == (
        8, [2], "dynamic_batching",
    )  # fmt: skip
    assert config.parameters["accuracy"].string_value == "0.9"
    statistics = graph.rpc(
        "ModelStatistics", wire.ModelStatisticsRequest(name="m", version="aa"), wire.ModelStatisticsResponse
    ).model_stats
    assert [(each.version, each.inference_count, each.execution_count) for each in statistics] == [("aa", 6, 3)]
    assert statistics[0].inference_stats.queue.count == 3
    index = graph.rpc("RepositoryIndex", wire.RepositoryIndexRequest(), wire.RepositoryIndexResponse)
    assert [(each.name, each.version, each.state) for each in index.models] == [
        ("m", "aa", "READY"), ("m", "bbb", "READY"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "version", "ready"),
    [("m", "", True), ("m", "aa", True), ("m", "zz", False), ("x", "", False), ("", "", False)],
)
def test_model_ready_never_fails(graph, name, version, ready) -> None:
    graph.apply(graph.held("aa", source=True))
    graph.wait_states(aa="READY")
    request = wire.ModelReadyRequest(name=name, version=version)
    assert graph.rpc("ModelReady", request, wire.ModelReadyResponse).ready is ready


@pytest.mark.parametrize("rpc", ["ModelMetadata", "ModelConfig", "ModelStatistics"])
def test_what_is_unknown_is_not_found(graph, rpc) -> None:
    graph.apply(graph.held("aa", source=True))
    graph.wait_states(aa="READY")
    request, reply = getattr(wire, f"{rpc}Request"), getattr(wire, f"{rpc}Response")
    assert graph.rpc(rpc, request(name="x"), reply)[0] is grpc.StatusCode.NOT_FOUND
    assert graph.rpc(rpc, request(name="m", version="zz"), reply)[0] is grpc.StatusCode.NOT_FOUND


def test_health_speaks_for_the_server_and_for_each_model(graph) -> None:
    graph.apply(graph.held("aa", source=True))
    graph.wait_states(aa="READY")

    def check(service: str):
        request = health_pb2.HealthCheckRequest(service=service)
        return graph.rpc("Check", request, health_pb2.HealthCheckResponse, "grpc.health.v1.Health")

    for service in ("", "inference.GRPCInferenceService", "m"):
        assert check(service).status == health_pb2.HealthCheckResponse.SERVING
    assert check("x")[0] is grpc.StatusCode.NOT_FOUND


def test_what_is_not_offered_says_so(graph) -> None:
    for rpc in ("RepositoryModelLoad", "SystemSharedMemoryRegister", "CudaSharedMemoryStatus", "TraceSetting"):
        status, message = graph.rpc(rpc, getattr(wire, f"{rpc}Request")(), None)
        assert status is grpc.StatusCode.UNIMPLEMENTED
        assert len(message) > 20
    request = wire.RepositoryIndexRequest(repository_name="other")
    assert graph.rpc("RepositoryIndex", request, None)[0] is grpc.StatusCode.UNIMPLEMENTED


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_malformed_bytes_get_an_answer_and_harm_nobody(graph, ask, data) -> None:
    good = ask().SerializeToString()
    method = data.draw(st.sampled_from([MODEL_INFER, "/inference.GRPCInferenceService/ModelConfig"]))
    noise = data.draw(
        st.binary(max_size=100)
        | st.tuples(st.integers(0, len(good) - 1), st.binary(min_size=1, max_size=4)).map(
            lambda cut: good[: cut[0]] + cut[1] + good[cut[0] + 1 :]
        )
    )
    call = FakeCall(method, noise)
    graph.front.put(call)
    assert call.wait().status in (
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.UNIMPLEMENTED,
    )


def test_traffic_moves_under_load_without_a_failed_or_misrouted_request(graph, ask) -> None:
    graph.apply(graph.held("aa", source=True), graph.held("bbb"), traffic=[graph.table(1, aa=10_000)])
    graph.wait_states(aa="READY", bbb="READY")
    over = threading.Event()
    problems: list[object] = []
    answered: set[str] = set()

    def load() -> None:
        while not over.is_set():
            calls = [graph.ask(ask(2.0)) for _ in range(3)]
            for call in calls:
                call.wait()
                if call.status is not grpc.StatusCode.OK:
                    problems.append((call.status, call.message))
                    continue
                response = wire.ModelInferResponse.FromString(call.answer)
                answered.add(response.model_version)
                if np.frombuffer(response.raw_output_contents[0], np.float32)[0] != 2.0 * len(response.model_version):
                    problems.append(response)

    thread = threading.Thread(target=load)
    thread.start()
    # Each step gives up a variant that has traffic, and moves that traffic to one that is not loaded yet.
    names = ["aa", "bbb", "cccc", "ddddd", "eeeeee"]
    for generation, (old, new) in enumerate(itertools.pairwise(names[1:]), start=2):
        graph.apply(graph.held(old), graph.held(new), traffic=[graph.table(generation, **{new: 10_000})])
        graph.wait(lambda wanted=generation: [a.generation for a in graph.roster.state().applied] == [wanted])
        graph.apply(graph.held(new), traffic=[graph.table(generation, **{new: 10_000})])
        graph.wait_states(**{new: "READY"})
    over.set()
    thread.join(10)
    assert problems == []
    assert {"cccc", "ddddd", "eeeeee"} & answered
