"""A study as the worker starts it: in a process of its own, with finalists and their steps as its result."""

from typing import Any

import optuna
import pytest

from optimizer.recipe.trial import STUDY_FILE, Failed, StepFinished, Studied


@pytest.fixture
def study(resnet: Any, source: Any, make_trial: Any) -> Any:
    search = {"trials": 3, "narrow": False, "sampler": "grid", "finalists": 2, "space": {"1.ratio": [0.25, 0.5]}}
    steps = [{"use": "prune_structured"}, {"use": "export"}, {"use": "quantize_static", "skip_slow": False}]
    return make_trial(resnet, "tuned", steps, source, study=search, objective={"max_accuracy_drop": 0.9})


def test_a_study_proposes_recipes_and_hands_their_steps_in(study: Any) -> None:
    study.run()
    assert (study.status, type(study.last)) == (0, Studied), study.last
    recipes = [finalist.recipe for finalist in study.last.finalists]
    assert recipes
    assert {recipe.steps[0].ratio for recipe in recipes} <= {0.25, 0.5}
    assert all("of the source's time" in finalist.why for finalist in study.last.finalists)
    handed = [event for event in study.events if isinstance(event, StepFinished)]
    assert {event.recipe.name for event in handed if event.recipe} == {recipe.name for recipe in recipes}
    assert {event.key for event in handed} <= {path.name for path in (study.scratch / "steps").iterdir()}
    stored = optuna.load_study(study_name="tuned", storage=f"sqlite:///{study.scratch / 'study' / STUDY_FILE}")
    assert len(stored.trials) == 2


def test_a_bad_study_is_refused(study: Any) -> None:
    study.values["study"] = {"sampler": "dice"}
    study.run_here()
    assert isinstance(study.last, Failed)
    assert "the study is not valid" in study.last.message
