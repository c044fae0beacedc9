"""Energy that the host's processors take while a model answers, where the kernel tells it (Intel and AMD, powercap)."""

import time
from collections.abc import Callable
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
_SECONDS = 0.3
_MOST_CALLS = 10_000


def joules_a_row(
    call: Callable[[], object], batch: int, root: Path = POWERCAP, clock: Callable[[], float] = time.monotonic
) -> float | None:
    """Joules of all packages for one row of calls with `batch` rows each; None where the counters cannot be read.

    It holds whatever else the host does meanwhile, and its idle power. The calls take 0.3 s, none without counters.
    """
    zones = [zone for zone in sorted(root.glob("*-rapl:*")) if zone.name.count(":") == 1]
    try:
        before = [_microjoules(zone) for zone in zones]
        spans = [int((zone / "max_energy_range_uj").read_text()) for zone in zones]
    except (OSError, ValueError):
        return None
    if not zones:
        return None
    end = clock() + _SECONDS
    calls = 0
    while calls == 0 or (clock() < end and calls < _MOST_CALLS):
        call()
        calls += 1
    try:
        after = [_microjoules(zone) for zone in zones]
    except (OSError, ValueError):
        return None
    # A counter begins anew at its span.
    used = sum((end - start) % (span + 1) for start, end, span in zip(before, after, spans, strict=True))
    return used / 1e6 / (calls * batch)


def _microjoules(zone: Path) -> int:
    return int((zone / "energy_uj").read_text())
