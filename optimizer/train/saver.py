"""Saves the state of training from time to time, and goes on without when that fails."""

from collections.abc import Callable
from pathlib import Path

from optimizer.train import checkpoint
from optimizer.train.checkpoint import Moving
from optimizer.train.state import State

# At most about this share of the time goes into saving.
_SHARE = 0.05


class Saver:
    """Decides when to save."""

    def __init__(self, directory: Path, identity: str, every_seconds: float, clock: Callable[[], float]) -> None:
        """`directory` holds the state of this training alone; `identity` names the training."""
        self.identity = identity
        self._directory, self._every, self._clock = directory, every_seconds, clock
        self._next = clock() + every_seconds
        self._failed: str | None = None

    def consider(self, now: float, state: State, moving: Moving) -> None:
        """Saves when it is time to."""
        if self._failed is not None or now < self._next:
            return
        try:
            checkpoint.save(self._directory, self.identity, state, moving)
        except OSError as error:
            # Training does not need it; what was saved before stays.
            self._failed = str(error)
        ended = self._clock()
        # Without a wish for any distance (0), every update is saved.
        self._next = ended + (max(self._every, (ended - now) / _SHARE) if self._every else 0.0)

    def end(self) -> list[str]:
        """Forgets the state; tells when it could not be saved."""
        checkpoint.forget(self._directory)
        if self._failed is None:
            return []
        return [f"the state of training could not be saved, so a kill would have lost it: {self._failed[:200]}"]
