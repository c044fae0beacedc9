"""How far a job has come, from how far its trials have: pure arithmetic."""

from collections.abc import Sequence
from dataclasses import dataclass

# Below this share of the job's work an estimate of the rest would be a guess.
_LEAST_SHARE = 0.01


@dataclass(frozen=True)
class Place:
    """A trial's place in its job: shares of the job's work, 0 to 1."""

    before: float
    share: float

    def of_job(self, share_of_trial: float) -> float:
        """The share of the job's work that is done when so much of the trial is."""
        return self.before + self.share * min(1.0, max(0.0, share_of_trial))


def places(steps: Sequence[int]) -> list[Place]:
    """The trials' places by how many passes each has; measuring counts as one more."""
    weights = [count + 1 for count in steps]
    total = sum(weights)
    return [Place(sum(weights[:index]) / total, weight / total) for index, weight in enumerate(weights)]


@dataclass(frozen=True)
class Course:
    """A trial's place, and since when, and from which share on, the job has been running."""

    place: Place
    started_seconds: float
    share_at_start: float

    def at(self, share_of_trial: float, now_seconds: float) -> tuple[float, float | None]:
        """Percent of the job that is done, and the estimated seconds until its end."""
        share = self.place.of_job(share_of_trial)
        return 100 * share, eta_seconds(now_seconds - self.started_seconds, self.share_at_start, share)


def eta_seconds(elapsed_seconds: float, share_at_start: float, share: float) -> float | None:
    """Seconds until the end, had the rest the pace since `share_at_start`; None while too little is done."""
    gained = share - share_at_start
    return None if gained < _LEAST_SHARE else elapsed_seconds * max(0.0, 1.0 - share) / gained
