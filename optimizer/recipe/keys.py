"""Cache keys: what each step of a recipe will be called before it has run.

A key chains over the key before it, not over the output's bytes. So the worker knows all keys of a trial ahead, accepts
from the sandboxed child only steps that it asked for, and a checkpoint can spoil no cache entry but its own.
"""

from dataclasses import dataclass
from importlib import metadata

from optimizer.artifact.digest import of_json
from optimizer.recipe.base import Dependency
from optimizer.recipe.recipe import Recipe


@dataclass(frozen=True)
class KeyInputs:
    """The digests that passes may depend on."""

    tenant: str
    checkpoint_digest: str
    dataset_digest: str
    seed: int
    # Fingerprint of the instruction set or device that results are made for.
    target: str


def step_keys(recipe: Recipe, inputs: KeyInputs) -> list[str]:
    """One key a step, in the recipe's order."""
    key = of_json(["checkpoint", inputs.tenant, inputs.checkpoint_digest])
    keys = []
    for step in recipe.steps:
        key = of_json(
            {
                "input": key,
                "pass": step.use,
                "version": step.version,
                "config": step.model_dump(mode="json"),
                "depends_on": _values(step.depends_on, inputs),
                "tools": {name: installed_version(name) for name in step.tools},
            }
        )
        keys.append(key)
    return keys


def _values(depends_on: frozenset[Dependency], inputs: KeyInputs) -> dict[str, str | int]:
    # Splits are a pure function of (data set, seed), so these two stand for any of them.
    by_name: dict[Dependency, str | int] = {
        Dependency.TRAIN: inputs.dataset_digest,
        Dependency.CALIBRATION: inputs.dataset_digest,
        Dependency.SELECTION: inputs.dataset_digest,
        Dependency.SEED: inputs.seed,
        Dependency.TARGET: inputs.target,
        Dependency.SOURCE: inputs.checkpoint_digest,
    }
    return {name.value: by_name[name] for name in sorted(depends_on)}


def installed_version(distribution: str) -> str:
    """Version of a distribution, "absent" when it is not installed; onnxruntime goes by either of its names."""
    names = ("onnxruntime-gpu", "onnxruntime") if distribution == "onnxruntime" else (distribution,)
    for name in names:
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return "absent"
