"""Which split a model's traffic follows now: a pure rule over what is wanted, what is applied and what is ready.

A wanted split is applied when all of its arms are READY; until then the applied one stays. Before any split is set the
model's first READY source takes all, and keeps it. An engine that has just started waits for the wanted split rather
than show its callers another variant for a moment; it falls back to the source when an arm cannot come.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum


class Presence(Enum):
    """What a variant is good for."""

    READY = "ready"
    COMING = "coming"
    ABSENT = "absent"


@dataclass(frozen=True)
class Candidate:
    """A variant of the model, in the order in which control lists them."""

    variant: str
    presence: Presence
    source: bool


@dataclass(frozen=True)
class Shares:
    """A split as control states it: (variant, basis points), summing to 10,000. Generation 0: nobody set it."""

    generation: int
    arms: tuple[tuple[str, int], ...]
    salt: str


def choose_shares(candidates: Sequence[Candidate], wanted: Shares | None, applied: Shares | None) -> Shares | None:
    """The split to follow; None: the model cannot answer unpinned requests now."""
    presence = {candidate.variant: candidate.presence for candidate in candidates}

    def all_ready(shares: Shares) -> bool:
        return all(presence.get(variant) is Presence.READY for variant, _ in shares.arms)

    if wanted is not None and all_ready(wanted):
        return wanted
    if applied is not None:
        if all_ready(applied):
            return applied
    elif wanted is not None and not any(
        presence.get(variant, Presence.ABSENT) is Presence.ABSENT for variant, _ in wanted.arms
    ):
        return None
    for candidate in candidates:
        if candidate.source and candidate.presence is not Presence.ABSENT:
            if candidate.presence is Presence.READY:
                return Shares(0, ((candidate.variant, 10_000),), "")
            return None
    return None
