import tomllib
from pathlib import Path

import pytest

from loadtests.budgets import DEFAULT_FILE, Latency, Slo, read
from service.errors import InvalidArgument


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "slo.toml"


def test_the_shipped_file_states_the_defaults() -> None:
    assert read(DEFAULT_FILE) == Slo()


def test_the_shipped_file_states_all_of_them() -> None:
    """So that a reader of the file knows every demand there is."""
    stated = tomllib.loads(DEFAULT_FILE.read_text())
    every = Slo().model_dump(exclude={"variants"})
    assert {section: set(fields) for section, fields in stated.items()} == {
        section: set(fields) for section, fields in every.items()
    }


def test_an_empty_file_demands_the_defaults(path: Path) -> None:
    path.write_text("")
    assert read(path) == Slo()


def test_a_latency_section_replaces_the_default_budgets(path: Path) -> None:
    path.write_text("[latency]\np99_ms = 20\n")
    assert read(path).budgets("r1.fp32") == {"p99": 20}


def test_a_variants_own_budgets_come_first(path: Path) -> None:
    path.write_text('[variants."r1.int8"]\np50_ms = 4\n')
    found = read(path)
    assert found.budgets("r1.int8") == {"p50": 4, "p95": 250, "p99": 500}
    assert found.budgets("r1.fp32") == {"p50": 100, "p95": 250, "p99": 500}


def test_only_budgets_below_the_limit_are_the_compiled_clients() -> None:
    assert Slo().is_compiled(9.99)
    assert not Slo().is_compiled(10.0)


def test_budgets_that_are_not_given_demand_nothing() -> None:
    assert Latency(p95_ms=3).given() == {"p95": 3}
    assert Latency().given() == {}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("[latency]\np42_ms = 1\n", "latency.p42_ms"),
        ("[speed]\nfast = true\n", "speed"),
        ("[latency]\np50_ms = -5\n", "latency.p50_ms"),
        ("[latency]\np50_ms = 0\n", "latency.p50_ms"),
        ('[latency]\np50_ms = "soon"\n', "latency.p50_ms"),
        ('[variants."r1.int8"]\np99_ms = -1\n', "variants.r1.int8.p99_ms"),
        ("[errors]\nmax_share = 1.5\n", "errors.max_share"),
        ("[accuracy]\nconfidence = 1\n", "accuracy.confidence"),
        ("[accuracy]\nmin_rows = 0\n", "accuracy.min_rows"),
        ("[split]\nlevel = 0\n", "split.level"),
        ("[generator]\nmax_cpu_share = 0\n", "generator.max_cpu_share"),
        ("[compiled]\nstreams = 0\n", "compiled.streams"),
        ("latency = 5\n", "latency"),
    ],
)
def test_a_wrong_field_is_named(path: Path, text: str, named: str) -> None:
    path.write_text(text)
    with pytest.raises(InvalidArgument) as raised:
        read(path)
    assert f"{path}: {named}: " in str(raised.value)


@pytest.mark.parametrize("content", [b"[latency\n", b"p50_ms = \n", b"\xff\xfe\x00"])
def test_what_is_not_toml_is_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(InvalidArgument, match="is not TOML"):
        read(path)


def test_a_file_that_is_not_there_is_named(path: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"slo\.toml cannot be read: No such file"):
        read(path)
