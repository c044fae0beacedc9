"""Whether figures of time were taken on a quiet host: how much blocks of calls vary, and what other processes used."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median

import numpy as np
import psutil

from optimizer.artifact.manifest import Noise

_BLOCKS = 20
# Blocks of a quiet host vary by one to five per cent.
_UNSTEADY = 0.15
# Cores that others may take beyond those that are free without being named: the system's own work.
_STRAY_CORES = 0.2

# Seconds of work that all cores of the host have done since it started.
BusySeconds = Callable[[], float]


@dataclass
class Watch:
    """What other processes used between two moments; filled when the watch ends."""

    other_cores: float | None = None
    host_cores: int = 1


@contextmanager
def watched(busy: "BusySeconds | None" = None, clock: Callable[[], float] = time.monotonic) -> Iterator[Watch]:
    """Watches the whole host beside this process; `other_cores` stays None where the host does not tell."""
    watch = Watch(host_cores=psutil.cpu_count() or 1)
    read = busy or busy_seconds
    try:
        began, used, at = read(), time.process_time(), clock()
    except (OSError, psutil.Error):
        yield watch
        return
    yield watch
    passed = clock() - at
    if passed > 0:
        others = read() - began - (time.process_time() - used)
        watch.other_cores = max(0.0, others / passed)


def busy_seconds() -> float:
    """Work of all cores; waiting, for a disk too, is none. Raises OSError where a sandbox closes /proc."""
    times = psutil.cpu_times()
    return float(sum(times) - times.idle - getattr(times, "iowait", 0.0) - getattr(times, "guest", 0.0))


def variation(nanoseconds: list[int]) -> float:
    """Coefficient of variation of the medians of about 20 blocks of consecutive calls; 0 for a single call."""
    blocks = np.array_split(np.array(nanoseconds, np.float64), min(_BLOCKS, len(nanoseconds)))
    medians = np.array([median(block) for block in blocks])
    return float(medians.std() / medians.mean()) if medians.mean() > 0 else 0.0


def noise_of(variations: dict[int, float], watch: Watch, threads: int) -> Noise:
    """What is to be said of the timing with `threads` threads; `variations` by batch size."""
    batch, worst = max(variations.items(), key=lambda item: item[1], default=(1, 0.0))
    said = []
    others = watch.other_cores
    if others is not None and others + threads > watch.host_cores + _STRAY_CORES:
        said.append(
            f"other processes used {others:.1f} of the host's {watch.host_cores} cores, and {threads} were needed"
        )
    if worst > _UNSTEADY:
        said.append(f"blocks of calls at batch {batch} varied by {worst:.0%}")
    sentence = f"The latencies were spoiled while they were taken: {'; '.join(said)}." if said else ""
    return Noise(variation=worst, other_cores=others, spoiled=bool(said), sentence=sentence)
