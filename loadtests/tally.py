"""What one run saw: latencies, answers and errors, counted by the variant that each reply names."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from loadtests.histogram import Histogram


@dataclass
class Seen:
    """Replies of one variant."""

    latency: Histogram = field(default_factory=Histogram)
    # (position of the sample, predicted class) to how often it was answered so.
    answers: Counter[tuple[int, int]] = field(default_factory=Counter)
    # By whole second since the start.
    seconds: dict[int, Histogram] = field(default_factory=lambda: defaultdict(Histogram))


class Tally:
    """Counts replies and errors. Belongs to one thread (or one gevent hub)."""

    def __init__(self) -> None:
        self.variants: dict[str, Seen] = defaultdict(Seen)
        self.sent = 0
        # gRPC status name to how often.
        self.errors: Counter[str] = Counter()
        # One full sentence a status.
        self.error_examples: dict[str, str] = {}
        # Simulated user to the variants that answered it; sticky routing gives each exactly one.
        self.answered_by: dict[str, set[str]] = defaultdict(set)

    def reply(self, user: str, variant: str, sample: int, predicted: int, latency_ms: float, at_seconds: float) -> None:
        """One answer: the sample at position `sample` was called class `predicted`."""
        self.sent += 1
        seen = self.variants[variant]
        seen.latency.record(latency_ms)
        seen.seconds[int(at_seconds)].record(latency_ms)
        seen.answers[sample, predicted] += 1
        self.answered_by[user].add(variant)

    def error(self, status: str, details: str) -> None:
        """One call that failed."""
        self.sent += 1
        self.errors[status] += 1
        self.error_examples.setdefault(status, details)

    def merge(self, other: "Tally") -> None:
        """Adds what another tally of the same samples saw."""
        self.sent += other.sent
        self.errors.update(other.errors)
        for status, example in other.error_examples.items():
            self.error_examples.setdefault(status, example)
        for user, variants in other.answered_by.items():
            self.answered_by[user] |= variants
        for name, theirs in other.variants.items():
            mine = self.variants[name]
            mine.latency.merge(theirs.latency)
            mine.answers.update(theirs.answers)
            for second, histogram in theirs.seconds.items():
                mine.seconds[second].merge(histogram)

    def to_json(self) -> dict[str, Any]:
        """Plain values for a file."""
        return {
            "sent": self.sent,
            "errors": dict(self.errors),
            "error_examples": self.error_examples,
            "answered_by": {user: sorted(variants) for user, variants in self.answered_by.items()},
            "variants": {
                name: {
                    "latency": seen.latency.to_json(),
                    "answers": [[sample, cls, times] for (sample, cls), times in sorted(seen.answers.items())],
                    "seconds": {str(second): found.to_json() for second, found in sorted(seen.seconds.items())},
                }
                for name, seen in self.variants.items()
            },
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """What `to_json` wrote."""
        made = cls()
        made.sent = value["sent"]
        made.errors.update(value["errors"])
        made.error_examples.update(value["error_examples"])
        made.answered_by.update({user: set(variants) for user, variants in value["answered_by"].items()})
        for name, seen in value["variants"].items():
            found = made.variants[name]
            found.latency = Histogram.from_json(seen["latency"])
            found.answers.update({(sample, predicted): times for sample, predicted, times in seen["answers"]})
            found.seconds.update({int(second): Histogram.from_json(h) for second, h in seen["seconds"].items()})
        return made
