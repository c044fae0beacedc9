from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.commands import arguments
from service.errors import InvalidArgument


@given(st.integers(0, 99), st.integers(0, 59), st.integers(1, 59))
def test_durations_add_up(hours: int, minutes: int, seconds: int) -> None:
    assert arguments.seconds(f"{hours}h{minutes}m{seconds}s") == hours * 3600 + minutes * 60 + seconds


@pytest.mark.parametrize(("text", "seconds"), [("5m", 300), ("90", 90), ("1.5h", 5400), ("0.5s", 0.5), (" 2H ", 7200)])
def test_usual_durations(text: str, seconds: float) -> None:
    assert arguments.seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "m", "5x", "-5m", "0s", "5m5h", "inf", "nan"])
def test_other_durations_are_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        arguments.seconds(text)


@pytest.mark.parametrize(
    ("text", "expected"), [("5ms", 5), ("0.8", 0.8), ("250us", 0.25), ("1.5s", 1500), (" 2 MS ", 2)]
)
def test_usual_latencies(text: str, expected: float) -> None:
    assert arguments.milliseconds(text) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("text", "expected"), [("10MB", 10_000_000), ("8MiB", 8 * 2**20), ("800kb", 800_000), ("1024", 1024), ("2 B", 2)]
)
def test_usual_sizes(text: str, expected: int) -> None:
    assert arguments.size_bytes(text) == expected


@pytest.mark.parametrize("text", ["", "ms", "-5ms", "0ms", "5m", "inf", "nan", "5 minutes"])
def test_other_latencies_are_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="latency"):
        arguments.milliseconds(text)


@pytest.mark.parametrize("text", ["", "MB", "-5MB", "0", "0.1B", "5m", "inf", "nan"])
def test_other_sizes_are_refused(text: str) -> None:
    with pytest.raises(InvalidArgument, match="size"):
        arguments.size_bytes(text)


@given(st.dictionaries(st.from_regex(r"r\d\.[a-z0-9]+", fullmatch=True), st.integers(1, 1000), min_size=1, max_size=6))
def test_weights_that_sum_to_a_hundred_are_taken(parts: dict[str, int]) -> None:
    total = sum(parts.values())
    arms = {name: 100 * part / total for name, part in parts.items()}
    found = arguments.weights([f"{name}={weight!r}" for name, weight in arms.items()])
    assert found == arms


@given(st.lists(st.floats(0, 100), min_size=1, max_size=5).filter(lambda items: abs(sum(items) - 100) > 0.02))
def test_weights_that_do_not_are_refused_with_their_sum(items: list[float]) -> None:
    with pytest.raises(InvalidArgument, match="must sum to 100"):
        arguments.weights([f"v{index}={weight!r}" for index, weight in enumerate(items)])


@pytest.mark.parametrize("arm", ["r1.int8", "=50", "r1.int8=", "r1.int8=x", "r1.int8=-1", "r1.int8=101", "a=nan"])
def test_malformed_arms_are_refused(arm: str) -> None:
    with pytest.raises(InvalidArgument, match="VARIANT=WEIGHT"):
        arguments.weights([arm])


def test_shares_of_one_are_explained_and_repeats_refused() -> None:
    with pytest.raises(InvalidArgument, match="percentages"):
        arguments.weights(["a=0.5", "b=0.5"])
    with pytest.raises(InvalidArgument, match="twice"):
        arguments.weights(["a=50", "a=50"])


@given(st.integers(1, 100), st.data())
def test_rows_are_a_python_slice_of_what_is_there(count: int, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, count - 1))
    stop = data.draw(st.integers(start + 1, count))
    assert arguments.rows(f"{start}:{stop}", count) == range(start, stop)
    assert arguments.rows(f":{stop}", count) == range(stop)
    assert arguments.rows(f"{start}:", count) == range(start, count)
    assert arguments.rows(str(start), count) == range(start, start + 1)


@pytest.mark.parametrize("text", ["", "a", "1:2:3", "-1:2", "5:5", "6:5", "0:11", "10"])
def test_other_rows_are_refused(text: str) -> None:
    with pytest.raises(InvalidArgument):
        arguments.rows(text, 10)


def test_data_files(tmp_path: Path) -> None:
    first, second = tmp_path / "a=b.npz", tmp_path / "c.npz"
    for path in (first, second):
        path.touch()
    assert arguments.data_files([]) == {}
    assert arguments.data_files([str(first)]) == {"all": first}
    both = arguments.data_files([f"train={first}", f"eval={second}"])
    assert both == {"train": first, "eval": second}
    for wrong in ([str(first), str(second)], [f"train={first}"], [f"train={first}", f"train={second}"], ["nowhere"]):
        with pytest.raises(InvalidArgument):
            arguments.data_files(wrong)
