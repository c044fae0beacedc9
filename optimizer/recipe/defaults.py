"""The recipes of a bare `stillroom optimize`: chosen by what the checkpoint is, cheapest promising one first.

The order is that of the chance to gain per second: passes on the ONNX file cost seconds, those that train cost minutes.
Recipes share beginnings (slim and slim-int8 prune and distil alike), so that the second takes them from the cache.
"""

from optimizer.artifact.inspected import Inspection
from optimizer.artifact.session import Target
from optimizer.artifact.task import needs_new_head
from optimizer.recipe.base import Stage
from optimizer.recipe.distill import Distill
from optimizer.recipe.export import Export
from optimizer.recipe.finetune import Finetune
from optimizer.recipe.fp16 import Fp16
from optimizer.recipe.fuse import Fuse
from optimizer.recipe.prune import PruneStructured
from optimizer.recipe.quantize import QuantizeDynamic, QuantizeStatic
from optimizer.recipe.recipe import AnyPass, Recipe

# Half the width leaves about a quarter of the multiplications, a quarter of it about a sixteenth.
_SLIM: tuple[AnyPass, ...] = (PruneStructured(ratio=0.5), Distill(epochs=4))
_TINY: tuple[AnyPass, ...] = (PruneStructured(ratio=0.75), Distill(epochs=6))

_PRODUCTS = ("MatMul", "Gemm")
_CONVOLUTIONS = ("Conv", "ConvTranspose")
_RECORDED_CONVOLUTIONS = ("conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d")
# A graph with one of these has been quantised by its owner.
_QUANTISED = frozenset(
    {
        "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "MatMulInteger", "ConvInteger", "QLinearConv",
        "QLinearMatMul", "MatMulNBits", "DynamicQuantizeMatMul", "QAttention",
    }
)  # fmt: skip


# Trains the head that a bare body is given: first by itself, then with the body.
_HEAD = Finetune(epochs=3, freeze_epochs=1)


def source_recipe(inspection: Inspection, task: str) -> Recipe:
    """The recipe of the source itself: the checkpoint as fp32 ONNX, with nothing taken away.

    A bare body is given a head for `task`, which is trained first; every other recipe then begins alike.
    """
    head = (_HEAD,) if needs_new_head(inspection, task) else ()
    return Recipe(name="fp32", steps=() if inspection.format == "onnx" else (*head, Export()))


def beginning(source: Recipe) -> tuple[AnyPass, ...]:
    """The steps of a source's recipe that make the network which all other recipes start from."""
    return tuple(step for step in source.steps if step.produces is Stage.TORCH)


def begun_like(source: Recipe, recipe: Recipe) -> Recipe:
    """The recipe with the source's beginning before its own steps, unless it begins so already."""
    first = beginning(source)
    if recipe.steps[: len(first)] == first:
        return recipe
    return recipe.model_copy(update={"steps": (*first, *recipe.steps)})


def default_recipes(inspection: Inspection, target: Target) -> list[Recipe]:
    """What is tried when nothing is asked for; empty when no technique promises anything (a tree ensemble, say).

    `target` is what the variants are wanted for. On a CPU the fp16 variant comes last: it is kept for other hosts.
    """
    if inspection.format == "onnx":
        recipes = _of_onnx(inspection)
    elif inspection.format == "pt2" or (inspection.format == "state_dict" and inspection.kind == "tensor"):
        recipes = _of_program(inspection)
    elif inspection.head == "next_token":
        recipes = _of_decoder()
    elif inspection.attention:
        recipes = _of_encoder()
    else:
        recipes = _of_convolutional()
    half = [recipe for recipe in recipes if made_for(recipe, "cpu") == "cuda"]
    rest = [recipe for recipe in recipes if recipe not in half]
    return half + rest if target == "cuda" else rest + half


def made_for(recipe: Recipe, present: Target) -> Target:
    """The target that a recipe's variant is for: fp16 wants a CUDA device, all else runs on what is present."""
    return "cuda" if any(isinstance(step, Fp16) for step in recipe.steps) else present


def _of_convolutional() -> list[Recipe]:
    return [
        Recipe(name="int8", steps=(Export(), QuantizeStatic())),
        Recipe(name="slim", steps=(*_SLIM, Export())),
        Recipe(name="slim-int8", steps=(*_SLIM, Export(), QuantizeStatic())),
        Recipe(name="tiny", steps=(*_TINY, Export())),
        Recipe(name="tiny-int8", steps=(*_TINY, Export(), QuantizeStatic())),
        Recipe(name="fp16", steps=(Export(), Fp16())),
    ]


def _of_encoder() -> list[Recipe]:
    return [
        Recipe(name="fused", steps=(Export(), Fuse())),
        Recipe(name="int8-dynamic", steps=(Export(), Fuse(), QuantizeDynamic())),
        Recipe(name="int8", steps=(Export(), QuantizeStatic())),
        Recipe(name="slim", steps=(*_SLIM, Export(), Fuse())),
        Recipe(name="slim-int8", steps=(*_SLIM, Export(), Fuse(), QuantizeDynamic())),
        Recipe(name="fp16", steps=(Export(), Fuse(sums="joined"), Fp16())),
    ]


def _of_decoder() -> list[Recipe]:
    """Of a causal language model, whose attention does not fuse into what encoders' does."""
    return [
        Recipe(name="int8-dynamic", steps=(Export(), QuantizeDynamic())),
        Recipe(name="int8", steps=(Export(), QuantizeStatic())),
        Recipe(name="slim", steps=(*_SLIM, Export())),
        Recipe(name="slim-int8", steps=(*_SLIM, Export(), QuantizeDynamic())),
        Recipe(name="fp16", steps=(Export(), Fp16())),
    ]


def _of_program(inspection: Inspection) -> list[Recipe]:
    """What a recorded program computes, or what a state dict's weights look like, decides."""
    if inspection.attention:
        return _of_encoder()
    if any(name in inspection.operators for name in _RECORDED_CONVOLUTIONS):
        return _of_convolutional()
    if "linear" not in inspection.operators:
        return []
    return [
        Recipe(name="int8-dynamic", steps=(Export(), QuantizeDynamic())),
        Recipe(name="int8", steps=(Export(), QuantizeStatic())),
        Recipe(name="slim", steps=(*_SLIM, Export())),
        Recipe(name="slim-int8", steps=(*_SLIM, Export(), QuantizeDynamic())),
        Recipe(name="fp16", steps=(Export(), Fp16())),
    ]


def _of_onnx(inspection: Inspection) -> list[Recipe]:
    operators = inspection.operators
    multiplies = any(name in operators for name in _PRODUCTS)
    convolves = any(name in operators for name in _CONVOLUTIONS)
    if _QUANTISED.intersection(operators) or not (multiplies or convolves):
        return []
    fuse: tuple[AnyPass, ...] = (Fuse(),) if _has_attention(operators) else ()
    recipes = [Recipe(name="fused", steps=fuse)] if fuse else []
    if multiplies:
        recipes.append(Recipe(name="int8-dynamic", steps=(*fuse, QuantizeDynamic())))
    recipes.append(Recipe(name="int8", steps=(QuantizeStatic(),)))
    joined: tuple[AnyPass, ...] = (Fuse(sums="joined"),) if fuse else ()
    recipes.append(Recipe(name="fp16", steps=(*joined, Fp16())))
    return recipes


def _has_attention(operators: dict[str, int]) -> bool:
    # One attention block has a softmax between two products, and four projections around them.
    return operators.get("Softmax", 0) >= 1 and operators.get("MatMul", 0) + operators.get("Gemm", 0) >= 6
