import dataclasses

import numpy as np
import pytest

from optimizer.errors import NotApplicable
from optimizer.intake.predictor import answers_of, predictor_of, tensors_of
from optimizer.passes import distill, prune
from optimizer.passes.made_up import made_up, supplied
from optimizer.recipe.distill import Distill
from optimizer.recipe.prune import PruneStructured
from optimizer.train.soft_targets import soft_loss


def _with_train(given, rows):
    return dataclasses.replace(given, splits=dataclasses.replace(given.splits, train=rows))


def _unreadable(rows):
    """Rows of the same shapes from which nothing can be learnt."""
    return dataclasses.replace(
        rows, arrays={name: np.full_like(array, np.nan) for name, array in rows.arrays.items()}, labels=None
    )


def test_student_learns_from_pictures_that_are_made_up(resnet, context):
    given = context(resnet)
    cut = prune.run(PruneStructured(ratio=0.5), resnet.load(), given)
    inputs = tensors_of(given.splits.selection, cut.inputs)
    right = answers_of(predictor_of(resnet.load()), inputs).argmax(-1)

    def agreement():
        return float((answers_of(predictor_of(cut), inputs).argmax(-1) == right).float().mean())

    before = agreement()
    blind = _with_train(given, _unreadable(given.splits.train))
    distill.run(Distill(data="synthetic", synthetic_rows=96, epochs=4), cut, blind)
    assert agreement() > before + 0.2
    assert "learns from 96 inputs that are made up; no training row was read" in given.notes


def test_few_rows_are_joined_by_made_up_ones_and_many_are_left_alone(bert, context):
    given, model = context(bert), bert.load()
    assert supplied(Distill(), model, given) is given
    few = _with_train(given, given.splits.train.take(np.arange(5)))
    more = supplied(Distill(synthetic_rows=20), model, few).splits.train
    assert len(more) == 25
    assert more.labels is None
    assert (more.arrays["input_ids"][:5] == few.splits.train.arrays["input_ids"]).all()
    assert given.notes == ["learns from 20 inputs that are made up, beside 5 real ones"]
    assert supplied(Distill(data="real"), model, few) is few


def test_texts_are_padded_words_of_the_vocabulary(bert, context):
    given, model = context(bert), bert.load()
    made = made_up(50, model, _with_train(given, given.splits.train), real=False)
    ids, mask = made.arrays["input_ids"], made.arrays["attention_mask"]
    assert ids.shape == mask.shape == (50, 12)
    assert ids.max() < 40
    assert (mask[:, 0] == 1).all()
    assert (np.diff(mask, axis=1) <= 0).all()
    assert 1 <= mask.sum(1).min() < mask.sum(1).max() <= 12


def test_pictures_of_a_network_that_remembers_nothing_cannot_be_made_up(vit, context):
    given, model = context(vit), vit.load()
    with pytest.raises(NotApplicable, match="no batch normalisation"):
        supplied(Distill(data="synthetic"), model, given)
    few = _with_train(given, given.splits.train.take(np.arange(5)))
    assert supplied(Distill(), model, few) is few


def test_student_learns_from_texts_that_are_made_up(bert, context):
    given = context(bert)
    cut = prune.run(PruneStructured(ratio=0.75, round_to=1), bert.load(), given)
    inputs = tensors_of(given.splits.selection, cut.inputs)
    wanted = answers_of(predictor_of(bert.load()), inputs)

    def apart():
        return float(soft_loss("classification", 1.0)(answers_of(predictor_of(cut), inputs), wanted, None))

    before = apart()
    distill.run(Distill(data="synthetic", epochs=4), cut, given)
    assert apart() < 0.5 * before
