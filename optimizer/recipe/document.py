"""Reads what a user wrote in YAML: a recipe, or a study when it says how to search."""

from typing import Any

import yaml
from pydantic import ValidationError

from optimizer.errors import InvalidRecipe
from optimizer.recipe.recipe import Recipe
from optimizer.recipe.study import Study

_SEARCH = "search"


def parse_yaml(text: str) -> Recipe | Study:
    """One recipe, or one study. Raises InvalidRecipe naming the field at fault and what is allowed."""
    try:
        value: Any = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InvalidRecipe(f"the recipe is not valid YAML: {error}") from error
    is_study = isinstance(value, dict) and _SEARCH in value
    what = "study" if is_study else "recipe"
    try:
        return Study.model_validate(value) if is_study else Recipe.model_validate(value)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in problem['loc']) or what}: {problem['msg']}"
            for problem in error.errors(include_url=False, include_context=False)[:5]
        )
        raise InvalidRecipe(f"the {what} is not valid: {problems}") from error
