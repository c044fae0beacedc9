"""Collects blobs that nothing refers to any more: the choice is pure, the removal one transaction."""

import logging
from collections.abc import Callable, Iterable, Set
from datetime import datetime

from optimizer.artifact.store import ArtifactStore, StoredFile
from service.registry.uploads import UploadRecords

_LOG = logging.getLogger(__name__)

# A blob is stored before the row that refers to it is committed: what is young may be about to be wanted.
MIN_AGE_SECONDS = 24 * 3600.0
# The registry's write lock is held while files are removed.
_AT_ONCE = 100


def unreferenced(
    blobs: Iterable[StoredFile], referenced: Set[str], now_seconds: float, min_age_seconds: float = MIN_AGE_SECONDS
) -> list[str]:
    """Digests of the blobs that no row refers to and that nobody has touched for `min_age_seconds`, oldest first."""
    oldest_first = sorted(blobs, key=lambda blob: (blob.touched_at_seconds, blob.sha256))
    return [
        blob.sha256
        for blob in oldest_first
        if blob.sha256 not in referenced and now_seconds - blob.touched_at_seconds > min_age_seconds
    ]


def collect(store: ArtifactStore, records: UploadRecords, clock: Callable[[], datetime]) -> list[str]:
    """Removes what is unreferenced, a hundred blobs at most, and returns their digests."""
    now_seconds = clock().timestamp()
    # A first look without the registry's lock: mostly there is nothing to do.
    old = unreferenced(_present(store, store.digests()), frozenset(), now_seconds)
    if not old:
        return []
    chosen = records.collect(
        # A second look inside the transaction: what was touched meanwhile stays.
        lambda referenced: unreferenced(_present(store, old), referenced, now_seconds)[:_AT_ONCE],
        store.delete,
    )
    if chosen:
        _LOG.info("collected %d blobs that nothing referred to", len(chosen))
    return chosen


def _present(store: ArtifactStore, digests: Iterable[str]) -> Iterable[StoredFile]:
    for sha256 in digests:
        try:
            yield store.stat(sha256)
        except FileNotFoundError:
            continue
