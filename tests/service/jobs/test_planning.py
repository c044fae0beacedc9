"""Plans keep the source first, names are never given twice, and the same work is recognised."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from optimizer.artifact.manifest import Hardware
from optimizer.errors import InvalidRecipe
from optimizer.recipe.distill import Distill
from optimizer.recipe.document import parse_yaml
from optimizer.recipe.export import Export
from optimizer.recipe.finetune import Finetune
from optimizer.recipe.objective import Objective
from optimizer.recipe.quantize import QuantizeDynamic
from optimizer.recipe.recipe import Recipe
from service.jobs.planning import MAX_RECIPES, Planned, Published, Work, already_made, plan, variant_name

SOURCE = Recipe(name="fp32", steps=(Export(),))
HERE = Hardware(cpu="a", cores=2, isa=("avx2",), gpu=None, onnxruntime="1.31")
THERE = HERE.model_copy(update={"cpu": "b"})
WORK = Work(recipe_digest="r", dataset_digest="d", seed=0, objective=Objective())

recipes = st.builds(
    lambda name, epochs: Recipe(name=name, steps=(Distill(epochs=epochs), Export())),
    st.sampled_from(["a", "b", "fp32"]),
    st.integers(1, 3),
)


@given(st.lists(recipes, max_size=8), st.booleans())
def test_the_source_comes_first_and_each_recipe_once(wanted: list[Recipe], has_source: bool) -> None:
    trials = plan("huggingface", SOURCE, has_source, wanted)
    assert all(trial.search is None for trial in trials)
    planned = [trial.recipe for trial in trials]
    assert planned[: 0 if has_source else 1] == ([] if has_source else [SOURCE])
    rest = planned if has_source else planned[1:]
    assert SOURCE not in rest
    assert len({(recipe.name, recipe.digest) for recipe in rest}) == len(rest)
    assert set(rest) == set(wanted)
    # In the order in which they were asked for first.
    assert rest == sorted(rest, key=wanted.index)


def test_the_source_is_not_tried_again_as_a_recipe() -> None:
    assert plan("huggingface", SOURCE, True, [SOURCE]) == []
    assert plan("huggingface", SOURCE, False, [SOURCE]) == [Planned(SOURCE)]


def test_a_study_is_planned_as_its_template_and_its_search() -> None:
    text = "name: tuned\nsteps: [{use: finetune}, {use: export}]\nsearch: {space: {1.epochs: [1, 2]}, trials: %d}\n"
    one, other = parse_yaml(text % 2), parse_yaml(text % 3)
    planned = plan("huggingface", SOURCE, True, [one, one, other])
    assert [trial.recipe.name for trial in planned] == ["tuned", "tuned"]
    assert [trial.search["trials"] for trial in planned if trial.search] == [2, 3]


def test_a_study_of_a_bare_body_begins_with_its_head() -> None:
    study = parse_yaml("name: tuned\nsteps: [{use: distill}, {use: export}]\nsearch: {space: {1.alpha: [0.0, 0.5]}}\n")
    headed = Recipe(name="fp32", steps=(Finetune(freeze_epochs=1), Export()))
    (planned,) = plan("huggingface", headed, True, [study])
    assert [step.use for step in planned.recipe.steps] == ["finetune", "distill", "export"]
    assert planned.search is not None
    assert planned.search["space"] == {"2.alpha": [0.0, 0.5]}


def test_an_impossible_order_is_refused_before_anything_runs() -> None:
    with pytest.raises(InvalidRecipe, match="needs an ONNX model"):
        plan("huggingface", SOURCE, True, [Recipe(name="int8", steps=(QuantizeDynamic(),))])
    with pytest.raises(InvalidRecipe, match="push the Hugging Face directory"):
        plan("onnx", Recipe(name="fp32", steps=()), True, [SOURCE.model_copy(update={"name": "again"})])


def test_too_many_recipes_are_refused() -> None:
    many = [Recipe(name=f"r{number}", steps=(Export(),)) for number in range(MAX_RECIPES + 1)]
    with pytest.raises(InvalidRecipe, match=f"at most {MAX_RECIPES}"):
        plan("huggingface", SOURCE, True, many)


@given(
    st.lists(st.tuples(st.integers(1, 3), st.sampled_from(["int8", "int8-2", "fp16"])), max_size=12),
)
def test_names_are_never_given_twice(wanted: list[tuple[int, str]]) -> None:
    taken: set[str] = set()
    for revision, recipe in wanted:
        name = variant_name(revision, recipe, taken)
        assert name not in taken
        assert name.startswith(f"r{revision}.{recipe}")
        taken.add(name)


def test_a_taken_name_gets_the_next_number() -> None:
    assert variant_name(1, "int8", []) == "r1.int8"
    assert variant_name(1, "int8", ["r1.int8", "r1.int8-3"]) == "r1.int8-2"
    assert variant_name(2, "int8", ["r1.int8"]) == "r2.int8"


@given(
    st.sampled_from(["recipe_digest", "dataset_digest", "seed", "objective"]),
    st.text(string.ascii_lowercase, min_size=2),
)
def test_any_other_work_is_done_again(field: str, value: str) -> None:
    other = Published("r1.a", "a", Work(**(WORK.__dict__ | {field: value})), HERE)
    assert already_made("a", WORK, HERE, [other]) is None


def test_the_same_work_is_done_once_a_host() -> None:
    measured = Published("r1.a", "a", WORK, HERE)
    assert already_made("a", WORK, HERE, [measured]) == "r1.a"
    assert already_made("a", WORK, THERE, [measured]) is None
    assert already_made("b", WORK, HERE, [measured]) is None
    # What was made for another device is measured nowhere, and is the same wherever it is made.
    assert already_made("a", WORK, THERE, [Published("r1.a", "a", WORK, None)]) == "r1.a"
