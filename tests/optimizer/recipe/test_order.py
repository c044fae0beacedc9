import pytest

from optimizer.errors import InvalidRecipe
from optimizer.recipe.base import Stage
from optimizer.recipe.distill import Distill
from optimizer.recipe.export import Export
from optimizer.recipe.quantize import QuantizeDynamic, QuantizeStatic
from optimizer.recipe.quantize_aware import QuantizeAware
from optimizer.recipe.recipe import Recipe, check_order
from optimizer.recipe.student import Student

_STUDENT = Student(config={"model_type": "resnet"})


@pytest.mark.parametrize(
    ("start", "steps"),
    [
        (Stage.TORCH, (_STUDENT, Distill(), Export(), QuantizeStatic())),
        (Stage.ONNX, (_STUDENT, Distill(), Export(), QuantizeStatic())),
        (Stage.ONNX, (_STUDENT, QuantizeAware())),
        (Stage.TORCH, (QuantizeAware(),)),
    ],
)
def test_student_and_training_with_rounding_have_their_places(start, steps):
    check_order(Recipe(name="some", steps=steps), start)


@pytest.mark.parametrize(
    ("start", "steps", "says"),
    [
        (Stage.ONNX, (Distill(), Export()), r"step 1: `distill` needs a torch model.*begin with a `student`"),
        (Stage.ONNX, (QuantizeDynamic(), _STUDENT, Export()), r"step 2: `student` needs a torch model"),
        (Stage.TORCH, (Export(), _STUDENT), r"step 2: `student` needs a torch model.*before `export`"),
        (Stage.TORCH, (QuantizeAware(), Export()), r"step 2: `export` needs a torch model"),
        (Stage.TORCH, (QuantizeAware(), QuantizeStatic()), r"`quantize_static` cannot follow `quantize_aware`"),
        (Stage.ONNX, (_STUDENT, Distill()), "never exports"),
    ],
)
def test_steps_out_of_order_are_refused(start, steps, says):
    with pytest.raises(InvalidRecipe, match=says):
        check_order(Recipe(name="some", steps=steps), start)
