"""Prometheus texts of several processes become one that a parser takes."""

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, Summary, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from service.http.exposition import merge

label_values = st.text(st.sampled_from('ab{}",\\ \n='), max_size=6)


def exposition(values: list[str], amount: float) -> str:
    registry = CollectorRegistry()
    counter = Counter("calls", "Calls, so to speak.", ["who"], registry=registry)
    histogram = Histogram(
        "wait_seconds", 'A "quoted" help\nof two lines.', ["who"], registry=registry, buckets=(0.1, 1)
    )
    Gauge("depth", "Depth.", registry=registry).set(amount)
    Summary("size", "Sizes.", registry=registry).observe(amount)
    Info("build", "What runs.", registry=registry).info({"version": "1"})
    for value in values:
        counter.labels(value).inc(amount)
        histogram.labels(value).observe(amount)
    return generate_latest(registry).decode()


def samples(text: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    found = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in found, "the same series twice"
            if not sample.name.endswith("_created"):
                found[key] = sample.value
    return found


@given(st.lists(label_values, max_size=3, unique=True), st.floats(0, 100))
def test_one_text_stays_what_it_is(values: list[str], amount: float) -> None:
    text = exposition(values, amount)
    assert samples(merge([("", text)])) == samples(text)


@given(st.lists(label_values, max_size=3, unique=True), st.floats(0, 100))
def test_samples_of_several_processes_stay_apart(values: list[str], amount: float) -> None:
    text = exposition(values, amount)
    merged = merge([("", text), ('engine="0"', text), ('engine="1"', text)])
    found = samples(merged)
    for (name, labels), value in samples(text).items():
        assert found[name, labels] == value
        for engine in ("0", "1"):
            assert found[name, labels | {("engine", engine)}] == value
    assert len(found) == 3 * len(samples(text))
    meta = [line for line in merged.splitlines() if line.startswith("# ")]
    assert len({tuple(line.split()[1:3]) for line in meta}) == len(meta)


def test_a_familys_samples_stand_together_under_its_type() -> None:
    first = "# HELP a A.\n# TYPE a counter\na 1\n# TYPE b gauge\nb 1\n"
    second = "# TYPE b gauge\nb 2\n# HELP a Another.\n# TYPE a counter\na 2\nuntyped 3\n"
    assert merge([("", first), ('engine="1"', second)]) == (
        '# HELP a A.\n# TYPE a counter\na 1\na{engine="1"} 2\n'
        '# TYPE b gauge\nb 1\nb{engine="1"} 2\n'
        'untyped{engine="1"} 3\n'
    )


def test_who_disagrees_on_a_type_is_left_out() -> None:
    merged = merge([("", "# TYPE a counter\na 1\n"), ('engine="1"', "# TYPE a gauge\na 2\n")])
    assert merged == "# TYPE a counter\na 1\n"


def test_nothing_is_nothing() -> None:
    assert merge([("", ""), ("x", "# HELP only_help H.\n# TYPE only_help gauge\n")]) == ""
