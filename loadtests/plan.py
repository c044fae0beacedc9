"""What the load generator's process is told, and what it hands back, as files in one spool directory."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from loadtests.pressure import Pressure
from loadtests.shapes import Arrivals
from loadtests.tally import Tally

PLAN_FILE = "plan.json"
SAMPLES_FILE = "samples.npz"
OUTCOME_FILE = "outcome.json"


class Plan(BaseModel):
    """One run of the generator."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    server: str
    # The output whose highest score is the predicted class.
    output: str
    seconds: float = Field(gt=0)
    # Simulated users, each with a routing key of its own.
    users: int = Field(ge=1)
    arrivals: Arrivals = "poisson"
    # None: half of what `concurrency` callers reach, measured first.
    rate_per_second: float | None = Field(default=None, gt=0)
    # Callers that wait for their answer: of a closed loop, and of the measurement of capacity.
    concurrency: int = Field(default=2, ge=1)
    capacity_seconds: float = Field(default=3.0, gt=0)
    deadline_seconds: float = Field(default=5.0, gt=0)
    seed: int = 0


@dataclass(frozen=True)
class Outcome:
    """What came of it."""

    tally: Tally
    pressure: Pressure
    # Seconds that load was sent for.
    seconds: float
    # Calls a second that `concurrency` callers reached; None when a rate was given.
    capacity_per_second: float | None
    # None in a closed loop.
    rate_per_second: float | None
    # Seconds of the eight overlapping calls.
    selfcheck_seconds: float
    # Locust's own table: name to count, failures, mean and quantiles in milliseconds.
    locust: dict[str, dict[str, float]]

    def save(self, spool: Path) -> None:
        """Writes it for the process that judges."""
        value = asdict(self) | {"tally": self.tally.to_json()}
        (spool / OUTCOME_FILE).write_text(json.dumps(value))

    @classmethod
    def load(cls, spool: Path) -> "Outcome":
        """Reads what `save` wrote."""
        value: dict[str, Any] = json.loads((spool / OUTCOME_FILE).read_text())
        value["tally"] = Tally.from_json(value["tally"])
        value["pressure"] = Pressure(**value["pressure"])
        return cls(**value)
