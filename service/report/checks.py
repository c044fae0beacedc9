"""What a manifest says of a variant beyond its plain figures: against an earlier revision, and under shift. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Checks:
    """What a page shows below a variant."""

    # "Against r1.int8 on the same rows: +0.0120 (−0.0010 to +0.0250)"; empty without an earlier revision.
    against: str


def checks(manifest: Mapping[str, Any]) -> Checks:
    """The checks of a variant's newest measurement."""
    measurement: Mapping[str, Any] = (manifest.get("measurements") or ({},))[-1]
    return Checks(against=_against(measurement.get("against")))


def _against(found: Mapping[str, Any] | None) -> str:
    if found is None:
        return ""
    return f"Against {found['name']} on the same rows: {_signed(found['difference'])}"


def _signed(figure: Mapping[str, Any]) -> str:
    value, low, high = (format(figure[key], "+z.3f").replace("-", "−") for key in ("value", "low", "high"))
    return f"{value} ({low} to {high})"
