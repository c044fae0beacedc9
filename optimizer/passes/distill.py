"""Distillation: the present network learns from the checkpoint it came from (Hinton et al., 2015)."""

from optimizer.errors import InvalidRecipe
from optimizer.intake.predictor import predictor_of
from optimizer.intake.stages import TorchModel
from optimizer.passes.context import Context
from optimizer.passes.made_up import supplied
from optimizer.passes.teaching import Lesson
from optimizer.passes.training import train
from optimizer.recipe.distill import Distill

# Share of the pass that the teacher's answers take.
_TEACHING = 0.05


def run(config: Distill, model: TorchModel, context: Context) -> TorchModel:
    """Trains `model` in place.

    Raises PassFailed when training diverges, NotApplicable when inner values cannot be matched or inputs cannot be made
    up, InvalidRecipe for a pair of modules that are not there.
    """
    context = supplied(config, model, context)
    student = predictor_of(model)
    pairs = None if config.pairs is None else tuple(config.pairs.items())
    try:
        lesson = Lesson(config, student, model, context, hidden=config.hidden, attention=config.attention, pairs=pairs)
    except KeyError as error:
        raise InvalidRecipe(f"`pairs` names module {error.args[0]!r}, which is not in the network") from error
    with lesson:
        train(
            config,
            model,
            lesson.objective,
            context,
            selection=lesson.selection,
            predictor=student,
            companions=lesson.companions,
            shares=(_TEACHING, 1.0),
        )
    return model
