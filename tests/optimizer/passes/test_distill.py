import dataclasses

import pytest
import torch

from optimizer.errors import PassFailed
from optimizer.intake.predictor import answers_of, predictor_of, tensors_of
from optimizer.passes import distill, prune, training
from optimizer.recipe.distill import Distill
from optimizer.recipe.prune import PruneStructured


def _accuracy(model, rows):
    answers = answers_of(predictor_of(model), tensors_of(rows, model.inputs)).argmax(-1)
    return float((answers == torch.from_numpy(rows.labels)).float().mean())


@pytest.fixture
def student(resnet, context):
    return prune.run(PruneStructured(ratio=0.5), resnet.load(), context(resnet))


def test_distill_recovers_what_pruning_lost(resnet, context, student):
    given = context(resnet)
    lost = _accuracy(student, given.splits.selection)
    taught = distill.run(Distill(epochs=3), student, given)
    assert lost < 0.85
    assert _accuracy(taught, given.splits.selection) > 0.95
    assert given.notes[0].endswith(")")
    assert "of the selection rows right after epoch" in given.notes[0]


def test_distill_learns_from_the_teacher_alone_without_labels(resnet, context, student):
    given = context(resnet)
    blind = dataclasses.replace(
        given,
        splits=dataclasses.replace(
            given.splits,
            train=dataclasses.replace(given.splits.train, labels=None),
            selection=dataclasses.replace(given.splits.selection, labels=None),
        ),
    )
    taught = distill.run(Distill(epochs=3), student, blind)
    assert _accuracy(taught, given.splits.selection) > 0.95
    assert "the teacher's answers" in given.notes[0]


def test_distill_tells_how_far_it_is(resnet, context, student):
    told = []
    given = context(resnet, report=lambda share, **more: told.append((share, more)))
    distill.run(Distill(epochs=1), student, given)
    shares = [share for share, _ in told]
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(1.0)
    assert told[-1][1]["loss"] > 0
    assert told[-1][1]["eta_seconds"] == pytest.approx(0.0)


def test_distill_gives_up_with_a_clear_sentence_when_training_diverges(resnet, context, student):
    with pytest.raises(PassFailed, match=r"training diverged.*lower learning rate"):
        distill.run(Distill(epochs=2, learning_rate=1e18, warmup_share=0), student, context(resnet))


def test_default_learning_rate_follows_the_kind_of_network(resnet, bert):
    assert training.default_learning_rate(resnet.load()) == 1e-3
    # 5e-5 at width 768; this one has width 32.
    assert training.default_learning_rate(bert.load()) == pytest.approx(1e-3)
