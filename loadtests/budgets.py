"""The demands of slo.toml, checked when they are read."""

import tomllib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from service.errors import InvalidArgument

DEFAULT_FILE = Path(__file__).with_name("slo.toml")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Latency(_Frozen):
    """Budgets in milliseconds; None demands nothing."""

    p50_ms: float | None = Field(default=None, gt=0)
    p95_ms: float | None = Field(default=None, gt=0)
    p99_ms: float | None = Field(default=None, gt=0)

    def given(self) -> dict[str, float]:
        """Quantile ("p50") to budget, for those that are demanded."""
        found = {"p50": self.p50_ms, "p95": self.p95_ms, "p99": self.p99_ms}
        return {name: budget for name, budget in found.items() if budget is not None}


class Errors(_Frozen):
    """Calls that may fail."""

    max_share: float = Field(default=0.001, ge=0, le=1)


class Accuracy(_Frozen):
    """How closely answers under load must follow the manifest."""

    confidence: float = Field(default=0.999, gt=0, lt=1)
    min_rows: int = Field(default=200, ge=1)
    min_same_answers: float = Field(default=0.99, ge=0, le=1)


class Split(_Frozen):
    """How far users may stray from the weights."""

    level: float = Field(default=0.001, gt=0, lt=1)


class Generator(_Frozen):
    """Where the load generator stops being trustworthy."""

    max_dispatch_lag_ms: float = Field(default=50.0, gt=0)
    max_wake_lag_ms: float = Field(default=50.0, gt=0)
    max_cpu_share: float = Field(default=0.85, gt=0)


class Compiled(_Frozen):
    """When and how the compiled client is used."""

    below_ms: float = Field(default=10.0, ge=0)
    seconds: float = Field(default=3.0, gt=0)
    streams: int = Field(default=1, ge=1)


class Slo(_Frozen):
    """All demands of one file."""

    latency: Latency = Latency(p50_ms=100, p95_ms=250, p99_ms=500)
    variants: dict[str, Latency] = Field(default_factory=dict)
    errors: Errors = Errors()
    accuracy: Accuracy = Accuracy()
    split: Split = Split()
    generator: Generator = Generator()
    compiled: Compiled = Compiled()

    def budgets(self, variant: str) -> dict[str, float]:
        """Quantile to budget in milliseconds for a variant; its own budgets come before everybody's."""
        own = self.variants.get(variant)
        return self.latency.given() | (own.given() if own is not None else {})

    def is_compiled(self, budget_ms: float) -> bool:
        """Whether a budget is too tight for Locust to judge."""
        return budget_ms < self.compiled.below_ms


def read(path: Path) -> Slo:
    """The demands of a TOML file. Raises InvalidArgument naming the line or field at fault."""
    try:
        return Slo.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise InvalidArgument(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidArgument(f"{path} is not TOML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidArgument(f"{path}: {where}: {first['msg']}") from error
