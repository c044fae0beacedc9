import pickle

import torch

from optimizer.intake.predictor import answers_of, predictor_of, tensors_of
from optimizer.passes.recovery import objective_of
from optimizer.recipe.training import Training


def test_former_answers_are_wanted_where_there_are_no_labels_in_every_process(resnet, context):
    given, model = context(resnet, task="agreement"), resnet.load()
    objective = pickle.loads(pickle.dumps(objective_of(Training(), model, given)))
    answers = answers_of(
        predictor_of(model), tensors_of(given.splits.train.take(torch.arange(8).numpy()), model.inputs)
    )
    rows = torch.arange(8)
    assert float(objective(answers, rows)) < 1e-5
    assert float(objective(answers.flip(0), rows)) > 1e-2
