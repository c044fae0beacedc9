"""How far a trial has come, in percent of its expected time, told a few times a second at most."""

from collections.abc import Callable, Sequence

from optimizer.recipe.trial import Event, Progress

# Expected shares of a trial's time. Only the proportions count; they need not be right to be useful.
_WEIGHTS = {"distill": 12.0, "finetune": 12.0, "export": 5.0, "quantize_static": 2.0}
_MEASURING = 4.0
MEASURE = "measure"

_EVERY_SECONDS = 0.25


class Meter:
    """Turns shares of steps into percent of the trial; never goes back. One thread at a time."""

    def __init__(self, steps: Sequence[str], emit: Callable[[Event], None], clock: Callable[[], float]) -> None:
        weights = [*(_WEIGHTS.get(step, 1.0) for step in steps), _MEASURING]
        self._starts = [sum(weights[:index]) / sum(weights) for index in range(len(weights) + 1)]
        self._names = [*steps, MEASURE]
        self._emit = emit
        self._clock = clock
        self._last_told: float | None = None
        self._percent = 0.0

    def report(
        self,
        index: int,
        share: float,
        *,
        loss: float | None = None,
        eta_seconds: float | None = None,
        message: str = "",
    ) -> None:
        """Step `index` (the measurement comes after the last step) is `share` done, 0 to 1."""
        start, end = self._starts[index], self._starts[index + 1]
        self._percent = max(self._percent, 100 * (start + (end - start) * min(1.0, max(0.0, share))))
        now = self._clock()
        if self._last_told is not None and now - self._last_told < _EVERY_SECONDS and share < 1:
            return
        self._last_told = now
        self._emit(
            Progress(
                step=self._names[index],
                percent=round(self._percent, 1),
                loss=loss,
                eta_seconds=eta_seconds,
                message=message,
            )
        )
