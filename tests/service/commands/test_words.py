import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.client.figures import Metric, Speedup
from service.commands import words


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (44_700_000, "44.7 MB"),
        (999_950_000, "1 GB"),
        (2 * 10**15, "2000 TB"),
    ],
)
def test_sizes(count: int, text: str) -> None:
    assert words.size(count).replace("\u00a0", " ") == text


@pytest.mark.parametrize(
    ("value_ms", "text"),
    [
        (0.0821, "0.0821 ms"),
        (4, "4.00 ms"),
        (12.34, "12.3 ms"),
        (123.4, "123 ms"),
        (2050, "2.05 s"),
        (999_600, "1000 s"),
    ],
)
def test_latencies(value_ms: float, text: str) -> None:
    assert words.milliseconds(value_ms).replace("\u00a0", " ") == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.6, "1 min"), (200, "3 min 20 s"), (3600, "1 h"), (7500, "2 h 5 min")],
)
def test_durations(seconds: float, text: str) -> None:
    assert words.duration(seconds).replace("\u00a0", " ") == text


@given(st.integers(0, 10**14))
def test_sizes_keep_three_digits(count: int) -> None:
    number, unit = words.size(count).split("\u00a0")
    value = float(number) * {"B": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}[unit]
    assert value == pytest.approx(count, rel=0.006)


@given(st.floats(-1, 1), st.integers(1, 10**6))
def test_intervals_show_three_figures_and_no_negative_zero(value: float, n: int) -> None:
    text = words.interval(Metric("accuracy", value, value - 0.01, value + 0.01, n), signed=True)
    assert len(re.findall(r"[+−]\d\.\d{3,4}", text)) == 3
    assert not re.search(r"−0\.0+\b", text)


def test_what_is_not_there_is_a_dash() -> None:
    assert (words.interval(None), words.times(None), words.share(0.0)) == ("–", "–", "–")
    assert words.times(Speedup(3.636, 3.5, 3.7)) == "3.64×"
    assert words.share(0.0025).replace("\u00a0", " ") == "0.25 %"
