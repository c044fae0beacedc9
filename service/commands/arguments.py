"""Reads what users write: times, sizes, weights, ranges of rows, data files. Pure; raises InvalidArgument."""

import math
import re
from collections.abc import Sequence
from pathlib import Path

from service.errors import InvalidArgument

_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0}
_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s?)?")
_LATENCY_UNITS = {"us": 1e-3, "ms": 1.0, "s": 1e3}
_LATENCY = re.compile(r"(\d+(?:\.\d+)?)\s*(us|ms|s)?")
_SIZE_UNITS = {"b": 1, "kb": 1e3, "mb": 1e6, "gb": 1e9, "kib": 2**10, "mib": 2**20, "gib": 2**30}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmg]i?b|b)?")
_ROWS = re.compile(r"(\d*):(\d*)|(\d+)")
# A percent is kept in hundredths; the sum may miss 100 by one of them.
_SUM_TOLERANCE = 0.0100001


def seconds(text: str) -> float:
    """ "90s", "5m", "1h30m" or a plain number of seconds."""
    found = _DURATION.fullmatch(text.strip().lower())
    if found is None or not any(found.groups()):
        raise InvalidArgument(f"{text!r} is not a duration; write 90s, 5m, 2h or 1h30m")
    total = sum(float(value) * unit for value, unit in zip(found.groups(), _UNITS.values(), strict=True) if value)
    if total <= 0:
        raise InvalidArgument(f"{text!r} is no time at all; a duration must be above 0")
    return total


def milliseconds(text: str) -> float:
    """ "5ms", "0.8", "250us" or "1.5s" as milliseconds."""
    found = _LATENCY.fullmatch(text.strip().lower())
    value = 0.0 if found is None else float(found[1]) * _LATENCY_UNITS[found[2] or "ms"]
    if value <= 0:
        raise InvalidArgument(f"{text!r} is not a latency; write 5ms, 250us or 1.5s, above 0")
    return value


def size_bytes(text: str) -> int:
    """ "10MB" (ten million), "10MiB", "800kB" or a plain number of bytes."""
    found = _SIZE.fullmatch(text.strip().lower())
    value = 0 if found is None else round(float(found[1]) * _SIZE_UNITS[found[2] or "b"])
    if value <= 0:
        raise InvalidArgument(f"{text!r} is not a size; write 10MB, 8MiB or 800kB, above 0")
    return value


def weights(arms: Sequence[str]) -> dict[str, float]:
    """["r1.fp32=50", "r1.int8=50"] as percentages, which must sum to 100."""
    found: dict[str, float] = {}
    for arm in arms:
        name, separator, number = arm.partition("=")
        try:
            weight = float(number.removesuffix("%"))
        except ValueError:
            weight = math.nan
        if not (name and separator and 0 <= weight <= 100):
            raise InvalidArgument(f"{arm!r} is not VARIANT=WEIGHT with a weight from 0 to 100 percent")
        if name in found:
            raise InvalidArgument(f"{name} is given twice")
        found[name] = weight
    total = sum(found.values())
    if abs(total - 100) > _SUM_TOLERANCE:
        hint = "; weights are percentages" if math.isclose(total, 1) else ""
        raise InvalidArgument(f"the weights sum to {total:g}; they must sum to 100{hint}")
    return found


def rows(text: str, count: int) -> range:
    """ "0:8", ":8", "8:" or "3" of `count` rows; at least one row must be meant."""
    found = _ROWS.fullmatch(text)
    if found is None:
        raise InvalidArgument(f"{text!r} is not a range of rows; write 0:8 for the first eight, or 3 for one row")
    first, last, single = found.groups()
    start = int(single or first or 0)
    chosen = range(start, start + 1 if single else int(last) if last else count)
    if not chosen or chosen[-1] >= count:
        raise InvalidArgument(f"the rows {text} cannot be taken; the data has {count} rows, 0 to {count - 1}")
    return chosen


def data_files(given: Sequence[str]) -> dict[str, Path]:
    """["rows.npz"] or ["train=a.npz", "eval=b.npz"] as split name to file."""
    found: dict[str, Path] = {}
    for item in given:
        split, separator, name = item.partition("=")
        # A file may have = in its name: only the two words that mean a split are taken for one.
        split, path = (split, Path(name)) if separator and split in ("train", "eval") else ("all", Path(item))
        if split in found:
            raise InvalidArgument("give --data once, or once as train=FILE and once as eval=FILE")
        if not path.is_file():
            raise InvalidArgument(f"{path} is not a file")
        found[split] = path
    if set(found) not in (set(), {"all"}, {"train", "eval"}):
        raise InvalidArgument("give --data once, or once as train=FILE and once as eval=FILE")
    return found
