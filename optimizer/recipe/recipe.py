"""A recipe: named, ordered pass configs, checked before any work starts."""

import re
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, field_validator

from optimizer.artifact.digest import of_json
from optimizer.errors import InvalidRecipe
from optimizer.recipe.base import PassConfig, Stage
from optimizer.recipe.distill import Distill
from optimizer.recipe.export import Export
from optimizer.recipe.finetune import Finetune
from optimizer.recipe.fp16 import Fp16
from optimizer.recipe.fuse import Fuse
from optimizer.recipe.low_rank import LowRank
from optimizer.recipe.prune import PruneStructured
from optimizer.recipe.prune_layers import PruneLayers, ShareLayers
from optimizer.recipe.prune_magnitude import PruneMagnitude, PruneNM
from optimizer.recipe.quantize import QuantizeDynamic, QuantizeStatic
from optimizer.recipe.quantize_aware import QuantizeAware
from optimizer.recipe.quantize_weights import QuantizeWeights
from optimizer.recipe.share_weights import ShareWeights
from optimizer.recipe.smooth import Smooth
from optimizer.recipe.student import Student

AnyPass = Annotated[
    PruneStructured
    | PruneMagnitude
    | PruneNM
    | PruneLayers
    | ShareLayers
    | LowRank
    | ShareWeights
    | Student
    | Distill
    | Finetune
    | QuantizeAware
    | Export
    | Fuse
    | Fp16
    | Smooth
    | QuantizeDynamic
    | QuantizeStatic
    | QuantizeWeights,
    Field(discriminator="use"),
]

_A_MODEL = {Stage.TORCH: "a torch model", Stage.ONNX: "an ONNX model"}
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")


class Recipe(BaseModel):
    """An ordered list of passes with a name, which becomes part of the variant's name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    steps: tuple[AnyPass, ...]

    @field_validator("name")
    @classmethod
    def _name_is_short(cls, name: str) -> str:
        if _NAME.fullmatch(name) is None:
            raise ValueError("a recipe's name has 1 to 40 characters of a-z, 0-9, - and _, the first a letter or digit")
        return name

    @property
    def digest(self) -> str:
        """Digest of the steps; the name does not count."""
        return of_json([step.model_dump(mode="json") for step in self.steps])


def check_order(recipe: Recipe, start: Stage) -> None:
    """Refuses a recipe whose passes cannot follow each other from a checkpoint of stage `start`.

    Raises InvalidRecipe naming the first pass that does not fit.
    """
    stage = start
    before: list[str] = []
    for position, step in enumerate(recipe.steps, 1):
        config: PassConfig = step
        begins = position == 1 and stage in config.begins_with
        if config.accepts is not stage and not begins:
            hint = (
                "an `export` step must come first" if config.accepts is Stage.ONNX else "it must come before `export`"
            )
            if start is Stage.ONNX and config.accepts is Stage.TORCH:
                hint = (
                    "an ONNX checkpoint cannot be trained or pruned: begin with a `student`, whom it teaches, or push "
                    "the Hugging Face directory instead"
                )
            raise InvalidRecipe(
                f"recipe {recipe.name!r}, step {position}: `{config.use}` needs {_A_MODEL[config.accepts]}, "
                f"but has {_A_MODEL[stage]}; {hint}"
            )
        clash = config.not_after.intersection(before)
        if clash:
            raise InvalidRecipe(
                f"recipe {recipe.name!r}, step {position}: `{config.use}` cannot follow `{sorted(clash)[0]}`"
            )
        before.append(config.use)
        stage = config.produces
    if stage is not Stage.ONNX:
        raise InvalidRecipe(f"recipe {recipe.name!r} never exports: add an `export` step")
