"""Which share of a model's traffic each variant is meant to get: a pure function."""

from collections.abc import Callable, Iterable, Mapping

from service.fleet.board import Serving

WHOLE = 10_000


def present_shares(
    split: Mapping[str, int] | None, sources: Iterable[str], serving: Callable[[str], Serving]
) -> dict[str, float]:
    """Variant to share, 0 to 1. A variant that is absent gets nothing.

    `split` is the newest generation in hundredths of a percent, None before the first: then the first of the model's
    `sources` (oldest first) that engines can hold takes all, once it is ready.
    """
    if split is not None:
        return {variant: points / WHOLE for variant, points in split.items() if points}
    for source in sources:
        standing = serving(source)
        if standing is Serving.READY:
            return {source: 1.0}
        if standing is Serving.LOADING:
            return {}
    return {}
