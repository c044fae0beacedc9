"""Trials that a job gets while it runs: what the planner or a study wants tried next."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from optimizer.recipe.recipe import Recipe
from service.jobs.changes import add_event
from service.jobs.planning import MAX_RECIPES
from service.jobs.states import TrialState
from service.jobs.views import Happening
from service.registry import tables


@dataclass(frozen=True)
class Addition:
    """A recipe to be tried, and why; with `study` (JSON of TrialSpec.study) it is the template of a search."""

    recipe: Recipe
    why: str
    study: dict[str, Any] | None = None


def add_trials(session: Session, job: tables.Job, additions: Sequence[Addition], now: datetime) -> int:
    """Adds those trials that the job does not have yet, up to its limit; returns how many. The caller holds the job."""
    known = {_identity(Recipe.model_validate(trial.recipe), trial.study) for trial in job.trials}
    added = 0
    for addition in additions:
        identity = _identity(addition.recipe, addition.study)
        if identity in known or len(job.trials) >= MAX_RECIPES:
            continue
        known.add(identity)
        job.trials.append(
            tables.Trial(
                tenant=job.tenant,
                ordinal=len(job.trials) + 1,
                recipe=addition.recipe.model_dump(mode="json"),
                state=TrialState.QUEUED,
                why=addition.why,
                study=addition.study,
            )
        )
        add_event(
            session, job, Happening("log", trial=addition.recipe.name, message=f"to be tried: {addition.why}"), now
        )
        added += 1
    return added


def _identity(recipe: Recipe, study: dict[str, Any] | None) -> tuple[str, bool]:
    return recipe.digest, study is not None
