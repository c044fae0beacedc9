"""How a split deals keys and draws out to its arms: pure and deterministic.

A key falls into one of 10,000 buckets by a salted hash, and each bucket belongs to an arm. Buckets are dealt so that an
arm owns exactly its basis points, and so that a change of weights moves little more than the shares that changed: every
(bucket, arm) pair has a fixed random distance, and the nearest free pair is served first until each arm has its number.
(It is the stable matching of buckets and arms with capacities; contiguous ranges would shift every later boundary.)
"""

import hashlib
from bisect import bisect_right
from collections.abc import Mapping
from itertools import accumulate

import numpy as np

BUCKETS = 10_000
# Steps through the buckets by nearly the golden ratio: any stretch of draws is close to the weights. It has no common
# factor with BUCKETS, so 10,000 draws visit each bucket once.
_STRIDE = 6_181


class Split:
    """Arms and their shares. Immutable; any thread."""

    def __init__(self, shares: Mapping[str, int], salt: str) -> None:
        """`shares` in basis points, positive, 10,000 in sum. Raises ValueError otherwise."""
        if sum(shares.values()) != BUCKETS or min(shares.values()) <= 0:
            raise ValueError(f"shares must be positive and sum to {BUCKETS}: {dict(shares)}")
        self.shares = dict(sorted(shares.items()))
        self.salt = salt
        self._arms = tuple(self.shares)
        self._ends = list(accumulate(self.shares.values()))
        self._dealt = _deal(self.shares) if len(self._arms) > 1 else []
        self._salt_digest = hashlib.sha256(salt.encode()).digest()

    def by_key(self, key: str) -> str:
        """The arm that a key sticks to, on every host and after every restart."""
        if not self._dealt:
            return self._arms[0]
        hashed = hashlib.blake2b(key.encode(), digest_size=8, key=self._salt_digest)
        return self._arms[self._dealt[int.from_bytes(hashed.digest(), "little") % BUCKETS]]

    def by_draw(self, draw: int) -> str:
        """The arm of the `draw`-th request without a key: a low-discrepancy sequence."""
        if not self._dealt:
            return self._arms[0]
        return self._arms[bisect_right(self._ends, draw * _STRIDE % BUCKETS)]


def _deal(shares: Mapping[str, int]) -> list[int]:
    """Each bucket's arm, as its position among the sorted names."""
    distances = np.stack([np.frombuffer(hashlib.shake_128(arm.encode()).digest(8 * BUCKETS), "<u8") for arm in shares])
    left = list(shares.values())
    dealt = [-1] * BUCKETS
    for pair in np.argsort(distances, axis=None, kind="stable").tolist():
        arm, bucket = divmod(pair, BUCKETS)
        if dealt[bucket] < 0 and left[arm]:
            dealt[bucket] = arm
            left[arm] -= 1
    return dealt
