"""How long a client tries again after a lost connection: until nothing has come through for so many seconds."""

from collections.abc import Callable

from service.errors import ServiceError

FIRST_DELAY_SECONDS = 0.1
LONGEST_DELAY_SECONDS = 2.0


def delay_seconds(failures: int) -> float:
    """Pause after the n-th failure in a row (n >= 1): doubling from a tenth of a second up to two seconds."""
    return min(LONGEST_DELAY_SECONDS, FIRST_DELAY_SECONDS * 2.0 ** min(failures - 1, 16))


class Patience:
    """Counts the failures of one operation. Not for sharing between threads."""

    def __init__(self, limit_seconds: float, clock: Callable[[], float], sleep: Callable[[float], None]) -> None:
        self._limit_seconds = limit_seconds
        self._clock = clock
        self._sleep = sleep
        self._failures = 0
        self._last_progress = clock()

    def progressed(self) -> None:
        """Something came through: the patience is whole again."""
        self._failures = 0
        self._last_progress = self._clock()

    def wait(self, error: ServiceError) -> None:
        """Sleeps before the next try; raises `error` instead when the patience is spent."""
        self._failures += 1
        delay = delay_seconds(self._failures)
        if self._clock() + delay - self._last_progress > self._limit_seconds:
            raise error
        self._sleep(delay)
