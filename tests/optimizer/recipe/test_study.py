import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.errors import InvalidRecipe
from optimizer.recipe.document import parse_yaml
from optimizer.recipe.recipe import Recipe
from optimizer.recipe.study import Range, Study, ends_of, grid_of

_STEPS = """
name: tuned
steps:
  - use: prune_structured
  - use: distill
    epochs: 2
  - use: export
  - use: quantize_static
"""


def _study(search: str) -> Study:
    study = parse_yaml(_STEPS + "search:\n" + search)
    assert isinstance(study, Study)
    return study


def test_a_document_without_search_is_a_recipe():
    assert isinstance(parse_yaml(_STEPS), Recipe)


def test_without_a_space_the_declared_domains_are_searched():
    study = _study("  trials: 5\n")
    assert study.space["1.ratio"] == (0.25, 0.5, 0.65, 0.75)
    assert study.space["4.calibration"] == ("minmax", "entropy", "percentile")
    assert not any(name.startswith("3.") for name in study.space)


def test_values_are_put_into_their_steps_and_checked_there():
    study = _study("  space: {prune_structured.ratio: [0.1, 0.2], 2.temperature: {low: 1.0, high: 8.0}}\n")
    recipe = study.recipe({"1.ratio": 0.2, "2.temperature": 3.0}, "tuned-7")
    assert (recipe.name, recipe.steps[0].ratio, recipe.steps[1].temperature, recipe.steps[1].epochs) == (
        "tuned-7", 0.2, 3.0, 2,
    )  # fmt: skip
    assert study.template.steps[0].ratio == 0.5


@pytest.mark.parametrize(
    ("search", "complaint"),
    [
        ("  space: {prune_structured.ratio: [0.5, 1.5]}\n", "1.ratio: 1.5 is not possible"),
        ("  space: {1.width: [1]}\n", "`prune_structured` has no value 'width'"),
        ("  space: {9.ratio: [0.5]}\n", "there are steps 1 to 4"),
        ("  space: {fuse.ratio: [0.5]}\n", "names 0 steps; the steps are 1 \\(prune_structured\\)"),
        ("  space: {ratio: [0.5]}\n", "names no step; write <step>.<value>"),
        ("  space: {1.ratio: {low: 0.5, high: 0.25}}\n", "a range goes from low to a higher high"),
        (
            "  sampler: grid\n  space: {1.ratio: {low: 0.25, high: 0.5}}\n",
            "a grid needs values, or a range with a step",
        ),
        ("  goals: [accuracy, accuracy]\n", "names a goal twice"),
        ("  sampler: random\n", "'grid', 'tpe', 'gp' or 'nsga2'"),
        ("  trials: 0\n", "greater than or equal to 1"),
    ],
)
def test_what_cannot_be_searched_is_refused_by_name(search, complaint):
    with pytest.raises(InvalidRecipe, match=complaint):
        _study(search)


def test_a_template_without_any_domain_has_nothing_to_search():
    with pytest.raises(InvalidRecipe, match="there is nothing to search"):
        parse_yaml("name: plain\nsteps: [{use: export}]\nsearch: {}\n")


@given(low=st.integers(-50, 50), size=st.integers(1, 50), step=st.integers(1, 7))
def test_a_range_with_a_step_holds_what_a_loop_would(low, size, step):
    domain = Range(low=low, high=low + size, step=step)
    assert grid_of(domain) == tuple(range(low, low + size + 1, step))
    assert ends_of(domain) == (low, low + size)


def test_whole_ranges_give_whole_numbers_and_others_do_not():
    assert all(isinstance(value, int) for value in grid_of(Range(low=1, high=5, step=2)))
    assert grid_of(Range(low=0.0, high=1.0, step=0.25)) == (0.0, 0.25, 0.5, 0.75, 1.0)


def test_the_digest_tells_searches_apart_and_not_names():
    one, other = _study("  trials: 5\n"), _study("  trials: 6\n")
    assert one.digest != other.digest
    assert one.model_copy(update={"name": "else"}).digest == one.digest
