"""What a job will try, in which order, and under which names: pure functions of values."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from optimizer.artifact.digest import of_json
from optimizer.artifact.manifest import Hardware
from optimizer.errors import InvalidRecipe
from optimizer.recipe.auto import why_default
from optimizer.recipe.base import Stage
from optimizer.recipe.defaults import beginning, begun_like
from optimizer.recipe.objective import Objective
from optimizer.recipe.recipe import Recipe, check_order
from optimizer.recipe.study import Study

# Of one job; each is at least one process and one measurement.
MAX_RECIPES = 100

# Stage at which a checkpoint of each format enters the recipe.
START_STAGES = {"huggingface": Stage.TORCH, "onnx": Stage.ONNX, "pt2": Stage.TORCH, "state_dict": Stage.TORCH}


@dataclass(frozen=True)
class Work:
    """What decides a trial's result on one host. Two trials of one checkpoint with equal work give equal variants."""

    recipe_digest: str
    dataset_digest: str
    seed: int
    objective: Objective


@dataclass(frozen=True)
class Published:
    """A variant of the checkpoint that exists already."""

    name: str
    recipe: str
    work: Work
    # Where it was measured; None when it was not.
    hardware: Hardware | None


@dataclass(frozen=True)
class Planned:
    """One trial: a recipe, or with `search` (JSON of TrialSpec.study) the template of a study."""

    recipe: Recipe
    search: dict[str, Any] | None = None
    # Why it is tried; empty for what was asked for.
    why: str = ""


def plan(checkpoint_format: str, source: Recipe, has_source: bool, asked: Sequence[Recipe | Study]) -> list[Planned]:
    """The trials in their order: the source first unless it exists, each recipe and each study once.

    Where the source's own recipe trains a head first, all others begin alike.

    Raises InvalidRecipe for a recipe whose passes cannot follow each other from this format, or too many of them.
    """
    if len(asked) > MAX_RECIPES:
        raise InvalidRecipe(f"{len(asked)} recipes in one job; at most {MAX_RECIPES} are allowed")
    start = START_STAGES[checkpoint_format]
    planned = [] if has_source else [Planned(source)]
    seen = {(source.name, source.digest)}
    for one in asked:
        made = _planned(source, one)
        check_order(made.recipe, start)
        digest = made.recipe.digest if made.search is None else of_json([made.recipe.digest, made.search])
        if (one.name, digest) not in seen:
            seen.add((one.name, digest))
            planned.append(made)
    return planned


def explained(trial: Planned, source: Recipe) -> Planned:
    """A trial of an automatic job, with why it is tried."""
    why = "the checkpoint as it is, which all others are compared with" if trial.recipe == source else ""
    return replace(trial, why=why or why_default(trial.recipe))


def _planned(source: Recipe, asked: Recipe | Study) -> Planned:
    if isinstance(asked, Recipe):
        return Planned(begun_like(source, asked))
    study = asked.begun(beginning(source))
    return Planned(study.template, study.search.model_dump(mode="json"))


def variant_name(revision: int, recipe: str, taken: Collection[str]) -> str:
    """The first of r<revision>.<recipe>, ...-2, ...-3 that no variant of the model has ever had."""
    stem = f"r{revision}.{recipe}"
    number = 1
    name = stem
    while name in taken:
        number += 1
        name = f"{stem}-{number}"
    return name


def already_made(recipe: str, work: Work, hardware: Hardware, published: Iterable[Published]) -> str | None:
    """Name of the variant that trying `recipe` again on this host would only repeat, if there is one.

    A variant that was measured on other hardware is not it: its figures, and with them its verdict, may differ here.
    """
    for variant in published:
        same_host = variant.hardware is None or variant.hardware == hardware
        if variant.recipe == recipe and variant.work == work and same_host:
            return variant.name
    return None
