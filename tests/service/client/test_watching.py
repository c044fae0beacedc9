import pytest

from service.client.client import Client
from service.client.fake.server import FakeServer
from service.client.resources import JobState
from service.errors import NotFound


@pytest.mark.parametrize("after", [0, 1, 2, 3])
@pytest.mark.parametrize("fault", ["none", "close", "break"])
def test_each_event_comes_once_and_in_order(
    server: FakeServer, client: Client, published: str, fault: str, after: int
) -> None:
    job = client.jobs(published)[0]
    if fault == "close":
        server.state.faults.close_watch_after_events = after
        server.state.jobs[job.job_id].state = 2  # Running, so that the client must come back.
    if fault == "break":
        server.state.faults.break_watch_after_events = after
    seen = []
    for event in client.watch(job.job_id):
        seen.append(event.sequence)
        if event.sequence == 4:
            server.state.jobs[job.job_id].state = 3
            assert event.job_state is JobState.SUCCEEDED
    assert seen == [1, 2, 3, 4]


def test_goes_on_from_a_given_event(client: Client, published: str) -> None:
    job = client.jobs(published)[0]
    assert [event.sequence for event in client.watch(job.job_id, after_sequence=2)] == [3, 4]


def test_unknown_job_is_not_found(client: Client) -> None:
    with pytest.raises(NotFound, match="job77"):
        list(client.watch("job77"))


def test_the_same_request_is_the_same_job(client: Client, published: str) -> None:
    first = client.optimize(published, request_id="once")
    assert client.optimize(published, request_id="once").job_id == first.job_id
    assert client.optimize(published).job_id != first.job_id


def test_request_carries_what_was_asked_for(server: FakeServer, client: Client, published: str) -> None:
    client.optimize(published, checkpoint="r1", recipes=["name: a"], max_accuracy_drop=0.0, budget_seconds=60, seed=7)
    request = server.state.optimizations[-1]
    assert request.HasField("max_accuracy_drop")
    assert (request.max_accuracy_drop, request.budget_seconds, request.seed) == (0.0, 60, 7)
    assert list(request.recipes_yaml) == ["name: a"]
    client.optimize(published)
    assert not server.state.optimizations[-1].HasField("max_accuracy_drop")


def test_cancelled_job_says_so(server: FakeServer, client: Client, published: str) -> None:
    job = client.jobs(published)[0]
    server.state.jobs[job.job_id].state = 2
    assert client.cancel(job.job_id).state is JobState.CANCELLED
