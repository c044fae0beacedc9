"""The planner: it ends, never repeats itself, keeps to the budget, and goes where results point."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.artifact.inspected import InputFacts, Inspection
from optimizer.artifact.manifest import Verdict
from optimizer.recipe.auto import Proposal, Result, Stop, next_step, why_default
from optimizer.recipe.base import Stage
from optimizer.recipe.defaults import default_recipes, source_recipe
from optimizer.recipe.objective import Objective
from optimizer.recipe.recipe import Recipe, check_order

_INPUTS = {"x": InputFacts(datatype="FP32", shape=("batch", 3))}
_CONVOLUTIONAL = Inspection(format="huggingface", kind="image", inputs=_INPUTS)
_ENCODER = Inspection(format="huggingface", kind="text", attention=True, inputs=_INPUTS)
_ONE_POINT = Objective()

outcomes = st.tuples(
    st.sampled_from([Verdict.ACCEPT, Verdict.REJECT, Verdict.INCONCLUSIVE, Verdict.NOT_MEASURED, None]),
    st.floats(-0.02, 0.2),
    st.floats(0.3, 20),
    st.floats(0, 300),
)


def _source(inspection: Inspection) -> Result:
    return Result(source_recipe(inspection, "classification"), Verdict.SOURCE)


def _tried(recipe: Recipe, verdict: Verdict | None, loss: float = 0.0, speedup: float = 2.0) -> Result:
    return Result(recipe, verdict, loss, speedup, 10.0)


def _named(name: str, inspection: Inspection = _CONVOLUTIONAL) -> Recipe:
    return next(recipe for recipe in default_recipes(inspection, "cpu") if recipe.name == name)


@given(st.sampled_from([_CONVOLUTIONAL, _ENCODER]), st.lists(outcomes, min_size=30, max_size=30), st.floats(0, 2000))
def test_whatever_comes_of_the_trials_the_plan_ends_and_makes_sense(
    inspection: Inspection, drawn: list[Any], seconds_left: float
) -> None:
    waiting = iter(drawn)
    results = [_source(inspection)]
    results += [Result(recipe, *next(waiting)) for recipe in default_recipes(inspection, "cpu")]
    for _ in range(20):
        step = next_step(results, _ONE_POINT, seconds_left)
        assert step == next_step(results, _ONE_POINT, seconds_left)
        if isinstance(step, Stop):
            assert step.why.startswith("stopped")
            return
        check_order(step.recipe, Stage.TORCH)
        assert Recipe.model_validate(step.recipe.model_dump()) == step.recipe
        assert step.recipe.digest not in {result.recipe.digest for result in results}
        assert step.seconds <= seconds_left
        assert step.why
        seconds_left -= step.seconds
        results.append(Result(step.recipe, *next(waiting)))
    pytest.fail("the plan does not end")


def test_what_kept_within_the_margin_is_pruned_further() -> None:
    step = next_step([_source(_CONVOLUTIONAL), _tried(_named("tiny-int8"), Verdict.ACCEPT, 0.002)], _ONE_POINT, None)
    assert isinstance(step, Proposal)
    assert (step.recipe.name, step.recipe.steps[0].ratio, step.recipe.steps[1].epochs) == ("narrower-88", 0.875, 12)
    assert "0.80 points to spare" in step.why


def test_what_lost_too_much_is_trained_longer_and_then_cut_less() -> None:
    results = [_source(_CONVOLUTIONAL), _tried(_named("slim"), Verdict.REJECT, 0.05)]
    longer = next_step(results, _ONE_POINT, None)
    assert isinstance(longer, Proposal)
    assert (longer.recipe.name, longer.recipe.steps[1].epochs) == ("longer-50-8", 8)
    results += [_tried(longer.recipe, Verdict.REJECT, 0.04), _tried(_named("tiny"), Verdict.REJECT, 0.2)]
    found = {longer.recipe.name}
    while isinstance(step := next_step(results, _ONE_POINT, None), Proposal):
        found.add(step.recipe.name)
        results.append(_tried(step.recipe, Verdict.REJECT, 0.04))
    assert any(name.startswith("wider-") for name in found)


def test_what_lost_by_rounding_alone_learns_with_rounding() -> None:
    step = next_step([_source(_CONVOLUTIONAL), _tried(_named("int8"), Verdict.REJECT, 0.16)], _ONE_POINT, None)
    assert isinstance(step, Proposal)
    assert [one.use for one in step.recipe.steps] == ["quantize_aware"]
    slow = next_step([_source(_CONVOLUTIONAL), _tried(_named("int8"), Verdict.REJECT, 0.16, 0.7)], _ONE_POINT, None)
    assert isinstance(slow, Stop)


def test_a_short_budget_says_so() -> None:
    results = [_source(_CONVOLUTIONAL), _tried(_named("tiny"), Verdict.ACCEPT)]
    step = next_step(results, _ONE_POINT, 3.0)
    assert step == Stop("stopped: 3 s are left, and recipe narrower-88 takes about 20 s")


def test_a_kept_limit_is_enough_where_accuracy_is_preferred() -> None:
    results = [_source(_CONVOLUTIONAL), _tried(_named("tiny"), Verdict.ACCEPT)]
    wanted = Objective(prefer="accuracy", max_p95_ms=5.0)
    assert isinstance(next_step(results, wanted, None), Stop)


@pytest.mark.parametrize("inspection", [_CONVOLUTIONAL, _ENCODER])
def test_every_default_recipe_has_a_reason(inspection: Inspection) -> None:
    assert all(why_default(recipe) for recipe in default_recipes(inspection, "cpu"))
