"""The choice of what a new revision's variant is compared with."""

from hypothesis import given
from hypothesis import strategies as st

from service.jobs.baseline import Baseline, Candidate, choose

_candidates = st.lists(st.tuples(st.integers(1, 3), st.sampled_from(["fp32", "int8", "slim"])), max_size=8).map(
    lambda pairs: [
        Candidate(revision, recipe, recipe == "fp32", Baseline(f"r{revision}.{recipe}-{number}", {}, "d", "accuracy"))
        for number, (revision, recipe) in enumerate(pairs)
    ]
)


@given(_candidates, st.sampled_from(["fp32", "int8", "slim"]))
def test_the_newest_of_the_recipe_else_the_newest_source_of_the_newest_revision(
    candidates: list[Candidate], recipe: str
) -> None:
    chosen = choose(candidates, recipe)
    newest = max((candidate.revision for candidate in candidates), default=0)
    last = [candidate for candidate in candidates if candidate.revision == newest]
    alike = [candidate for candidate in last if candidate.recipe == recipe]
    sources = [candidate for candidate in last if candidate.is_source]
    if alike or sources:
        assert chosen == (alike or sources)[-1].baseline
    else:
        assert chosen is None
