"""Figures as people read them: sizes, times, shares, intervals. Pure."""

from service.client.figures import Metric, Speedup

_NO_BREAK = "\u00a0"


def size(count: int) -> str:
    """Bytes in decimal units: "44.7 MB"."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 999.5:
            return f"{value:.0f}{_NO_BREAK}B" if unit == "B" else f"{value:.3g}{_NO_BREAK}{unit}"
        value /= 1000
    return f"{value:.3g}{_NO_BREAK}TB" if value < 999.5 else f"{value:.0f}{_NO_BREAK}TB"


def milliseconds(value_ms: float) -> str:
    """A latency with three digits: "0.821 ms", "12.3 ms", "2.05 s"."""
    if value_ms >= 999.5:
        return f"{value_ms / 1000:.3g}{_NO_BREAK}s" if value_ms < 999_500 else f"{value_ms / 1000:.0f}{_NO_BREAK}s"
    return f"{value_ms:#.3g}".rstrip(".") + f"{_NO_BREAK}ms"


def duration(value_seconds: float) -> str:
    """A span of time: "8 s", "3 min 20 s", "2 h 5 min"."""
    whole = round(value_seconds)
    if whole < 60:
        return f"{whole}{_NO_BREAK}s"
    if whole < 3600:
        return f"{whole // 60}{_NO_BREAK}min" + (f" {whole % 60}{_NO_BREAK}s" if whole % 60 else "")
    minutes = whole % 3600 // 60
    return f"{whole // 3600}{_NO_BREAK}h" + (f" {minutes}{_NO_BREAK}min" if minutes else "")


def share(part: float) -> str:
    """A share of 1 in percent: "50 %", "0.25 %"; nothing at all is "–"."""
    return f"{100 * part:.4g}{_NO_BREAK}%" if part else "–"


def interval(metric: Metric | None, signed: bool = False) -> str:
    """A metric with its interval: "0.959 [0.946, 0.971]"; `signed` for differences. "–" where there is none."""
    if metric is None:
        return "–"
    # Below ten thousand rows the fourth digit is noise.
    digits = 3 if metric.n < 10_000 else 4
    form = f"+z.{digits}f" if signed else f"z.{digits}f"
    value, low, high = (format(number, form).replace("-", "−") for number in (metric.value, metric.low, metric.high))
    return f"{value} [{low},{_NO_BREAK}{high}]"


def times(speedup: Speedup | None) -> str:
    """How many times faster: "3.64×"; "–" where there is nothing to compare with."""
    return "–" if speedup is None else f"{speedup.value:.2f}×"
