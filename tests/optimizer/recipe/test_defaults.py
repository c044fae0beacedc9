"""Default recipes: applicable to what the checkpoint is, and never an impossible order."""

from typing import Any

import pytest

from optimizer.artifact.inspected import InputFacts, Inspection
from optimizer.artifact.session import Target
from optimizer.recipe.base import Stage
from optimizer.recipe.defaults import begun_like, default_recipes, made_for, source_recipe
from optimizer.recipe.recipe import Recipe, check_order

INPUTS = {"x": InputFacts(datatype="FP32", shape=("batch", 3))}


def huggingface(**facts: Any) -> Inspection:
    return Inspection(format="huggingface", kind=facts.pop("kind", "image"), inputs=INPUTS, **facts)


def onnx_with(**operators: int) -> Inspection:
    return Inspection(format="onnx", kind="tensor", inputs=INPUTS, operators=operators)


def recorded_with(**operators: int) -> Inspection:
    attention = "scaled_dot_product_attention" in operators
    return Inspection(format="pt2", kind="tensor", head="open", inputs=INPUTS, operators=operators, attention=attention)


ENCODER = onnx_with(MatMul=12, Softmax=2, Add=20)
EVERY_KIND = [
    huggingface(),
    huggingface(attention=True),
    huggingface(kind="text", attention=True),
    huggingface(kind="text", attention=True, head="next_token"),
    onnx_with(Conv=3, Gemm=1),
    onnx_with(Conv=3),
    ENCODER,
    recorded_with(conv2d=3, linear=1),
    recorded_with(linear=12, scaled_dot_product_attention=2),
    recorded_with(embedding=2, linear=3),
]


def names(recipes: list[Recipe]) -> list[str]:
    return [recipe.name for recipe in recipes]


@pytest.mark.parametrize("inspection", EVERY_KIND)
@pytest.mark.parametrize("target", ["cpu", "cuda"])
def test_every_recipe_can_run(inspection: Inspection, target: Target) -> None:
    recipes = default_recipes(inspection, target)
    start = Stage.ONNX if inspection.format == "onnx" else Stage.TORCH
    for recipe in (source_recipe(inspection, "classification"), *recipes):
        check_order(recipe, start)
    assert len(set(names(recipes))) == len({recipe.digest for recipe in recipes}) == len(recipes)


@pytest.mark.parametrize(
    ("inspection", "task", "steps"),
    [
        (huggingface(), "classification", ["export"]),
        (onnx_with(Conv=3), "classification", []),
        (huggingface(kind="text", head="embedding"), "embedding", ["export"]),
        (huggingface(kind="text", head="embedding"), "classification", ["finetune", "export"]),
    ],
)
def test_the_source_is_the_checkpoint_in_fp32_with_a_head_where_it_has_none(
    inspection: Inspection, task: str, steps: list[str]
) -> None:
    source = source_recipe(inspection, task)
    assert source.name == "fp32"
    assert [step.use for step in source.steps] == steps


def test_every_recipe_of_a_bare_body_begins_with_the_head() -> None:
    source = source_recipe(huggingface(head="embedding"), "classification")
    asked = Recipe.model_validate({"name": "int8", "steps": [{"use": "export"}, {"use": "quantize_static"}]})
    begun = begun_like(source, asked)
    assert [step.use for step in begun.steps] == ["finetune", "export", "quantize_static"]
    assert begun_like(source, begun) == begun
    assert begun_like(source_recipe(huggingface(), "classification"), asked) == asked


def test_a_convolutional_network_is_quantised_before_it_is_pruned() -> None:
    assert names(default_recipes(huggingface(), "cpu")) == ["int8", "slim", "slim-int8", "tiny", "tiny-int8", "fp16"]


@pytest.mark.parametrize("kind", ["image", "text"])
def test_an_encoder_is_fused_first(kind: str) -> None:
    recipes = default_recipes(huggingface(kind=kind, attention=True), "cpu")
    assert names(recipes) == ["fused", "int8-dynamic", "int8", "slim", "slim-int8", "fp16"]


def test_pruned_recipes_share_what_is_expensive() -> None:
    by_name = {recipe.name: recipe for recipe in default_recipes(huggingface(), "cpu")}
    for plain, quantised in (("slim", "slim-int8"), ("tiny", "tiny-int8")):
        assert by_name[quantised].steps[: len(by_name[plain].steps)] == by_name[plain].steps


@pytest.mark.parametrize(
    ("inspection", "expected"),
    [
        (onnx_with(Conv=3, Gemm=1), ["int8-dynamic", "int8", "fp16"]),
        (onnx_with(Conv=3), ["int8", "fp16"]),
        (ENCODER, ["fused", "int8-dynamic", "int8", "fp16"]),
        (onnx_with(TreeEnsembleClassifier=1), []),
        (onnx_with(MatMulInteger=3, MatMul=1), []),
        (onnx_with(QuantizeLinear=3, Conv=1), []),
    ],
)
def test_a_graph_gets_what_its_operators_promise(inspection: Inspection, expected: list[str]) -> None:
    assert names(default_recipes(inspection, "cpu")) == expected


def test_half_precision_is_first_where_it_can_run_and_last_elsewhere() -> None:
    for inspection in EVERY_KIND:
        assert names(default_recipes(inspection, "cuda"))[0] == "fp16"
        assert names(default_recipes(inspection, "cpu"))[-1] == "fp16"
        assert made_for(default_recipes(inspection, "cpu")[-1], "cpu") == "cuda"
        assert made_for(default_recipes(inspection, "cpu")[0], "cpu") == "cpu"


def test_a_recorded_program_is_treated_by_what_it_computes() -> None:
    assert "tiny" in names(default_recipes(recorded_with(conv2d=3, linear=1), "cpu"))
    assert "fused" in names(default_recipes(recorded_with(linear=12, scaled_dot_product_attention=2), "cpu"))
    assert names(default_recipes(recorded_with(embedding=2, linear=3), "cpu"))[0] == "int8-dynamic"
    assert default_recipes(recorded_with(embedding=2), "cpu") == []
