"""Plans are told before anything starts: what, for how long, and what the rows can show."""

from typing import Any

import pytest

from optimizer.artifact.inspected import InputFacts, Inspection
from optimizer.recipe.defaults import default_recipes, source_recipe
from optimizer.recipe.recipe import Recipe
from optimizer.recipe.study import Study
from service.jobs.forecast import Forecast, forecast
from service.jobs.planning import Planned, plan

_IMAGES = Inspection(
    format="huggingface",
    kind="image",
    inputs={"x": InputFacts(datatype="FP32", shape=("batch", 3))},
    weights_bytes=24_000_000,
)
_SOURCE = source_recipe(_IMAGES, "classification")


def _forecast(asked: list[Recipe | Study] | None = None, **changes: Any) -> Forecast:
    planned = plan("huggingface", _SOURCE, False, default_recipes(_IMAGES, "cpu") if asked is None else asked)
    values: dict[str, Any] = {
        "planned": planned, "inspection": _IMAGES, "task": "classification", "rows": {"all": 5000}, "margin": 0.01,
        "cores": 2, "goes_on": True,
    }  # fmt: skip
    return forecast(**(values | changes))


def test_rows_that_judge_are_counted_before_anything_is_read() -> None:
    assert _forecast().evaluation_rows == 1500
    assert _forecast(rows={"train": 700, "eval": 321}).evaluation_rows == 321
    assert _forecast(rows={"all": 10_000_000}).evaluation_rows == 20_000


def test_few_rows_resolve_little_and_the_margin_says_how_many_would_do() -> None:
    few, many = _forecast(rows={"all": 1000}), _forecast(rows={"all": 30_000})
    assert few.resolvable is not None
    assert many.resolvable is not None
    assert few.resolvable > 0.01 > many.resolvable
    assert few.rows_needed == many.rows_needed
    assert few.evaluation_rows < (few.rows_needed or 0) < many.evaluation_rows


@pytest.mark.parametrize("task", ["binary", "regression", "causal_lm"])
def test_other_metrics_are_not_promised_anything(task: str) -> None:
    found = _forecast(task=task)
    assert (found.resolvable, found.rows_needed) == (None, None)


def test_training_takes_longest_and_shared_steps_are_counted_once() -> None:
    seconds = {trial.recipe: trial.seconds for trial in _forecast().trials}
    assert seconds["slim"] > 2 * seconds["int8"]
    assert seconds["slim-int8"] < seconds["slim"]
    more = {trial.recipe: trial.seconds for trial in _forecast(rows={"all": 50_000}).trials}
    assert more["slim"] > seconds["slim"]
    assert more["int8"] == seconds["int8"]


def test_a_study_takes_as_long_as_its_points() -> None:
    recipe = default_recipes(_IMAGES, "cpu")[0]
    one = _forecast(planned=[Planned(recipe)]).trials[0].seconds
    assert _forecast(planned=[Planned(recipe, {"trials": 7})]).trials[0].seconds == pytest.approx(7 * one, rel=0.5)
