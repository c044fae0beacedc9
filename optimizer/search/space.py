"""A study's space in Optuna's terms: suggestions, samplers, and how many points there are."""

import math
import warnings
from collections.abc import Mapping

import optuna
from optuna.samplers import BaseSampler, GPSampler, GridSampler, NSGAIISampler, TPESampler

from optimizer.recipe.study import Range, Sampler, Space, Value, grid_of, is_whole, number

# Random points before a model of the objective is worth anything; the searches here are short.
_STARTUP_TRIALS = 5
_POPULATION = 8


def suggest(trial: optuna.Trial, space: Space) -> dict[str, Value]:
    """A value for each name, as the study's sampler proposes."""
    values: dict[str, Value] = {}
    for name, domain in space.items():
        if not isinstance(domain, Range):
            chosen = trial.suggest_categorical(name, domain)
            assert chosen is not None
            values[name] = chosen
        elif is_whole(domain):
            low, high, step = int(domain.low), int(domain.high), int(domain.step or 1)
            values[name] = trial.suggest_int(name, low, high, step=step, log=domain.log)
        else:
            found = trial.suggest_float(name, domain.low, domain.high, step=domain.step, log=domain.log)
            values[name] = number(domain, found)
    return values


def sampler_of(kind: Sampler, space: Space, seed: int) -> BaseSampler:
    """The sampler by its name. The same seed and history propose the same next point."""
    with warnings.catch_warnings():
        # Optuna warns of what it calls experimental; the versions are pinned.
        warnings.simplefilter("ignore")
        if kind == "grid":
            return GridSampler({name: list(grid_of(domain)) for name, domain in space.items()}, seed=seed)
        if kind == "gp":
            return GPSampler(seed=seed, n_startup_trials=_STARTUP_TRIALS)
        if kind == "nsga2":
            return NSGAIISampler(seed=seed, population_size=_POPULATION)
        return TPESampler(seed=seed, n_startup_trials=_STARTUP_TRIALS, multivariate=True)


def points_of(space: Space) -> float:
    """How many points the space has; infinite where a range has no step."""
    sizes = [
        math.inf if isinstance(domain, Range) and domain.step is None and not is_whole(domain) else _size(domain)
        for domain in space.values()
    ]
    return math.prod(sizes)


def _size(domain: object) -> float:
    if isinstance(domain, Range):
        return int((domain.high - domain.low) / (domain.step or 1) + 1e-9) + 1
    assert isinstance(domain, tuple)
    return len(domain)


def key_of(values: Mapping[str, Value]) -> tuple[tuple[str, Value], ...]:
    """A name for a point, whatever order its values come in."""
    return tuple(sorted(values.items()))
